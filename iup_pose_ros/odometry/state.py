"""What the odometry reports for every frame."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.geometry.pose import PoseWithCovariance
from iup_pose_ros.geometry.so3 import Array


class TrackingState(enum.IntEnum):
    """How the odometry stands; the numbers are those of iup_pose_msgs/TrackingState."""

    INITIALIZING = 0
    TRACKING = 1
    STATIONARY = 2
    LOST = 3


@dataclass(frozen=True, eq=False)
class KeyframeEdge:
    """Motion between two keyframes, as a pose graph takes it.

    Attributes:
        previous_id: number of the previous keyframe; keyframes count from 0.
        current_id: number of the current keyframe.
        previous_stamp: seconds.
        current_stamp: seconds.
        camera: T_prev_curr of the camera, scaled, covariance in the previous camera frame.
        base: T_prev_curr of the base frame, covariance in the previous base frame.
        sigma_R: (3,) standard deviations of the rotation about the previous camera's axes, radians.
        sigma_t: standard deviation of the direction of translation per axis of its tangent plane, radians;
            pi/2 where the direction is unknown.
        inlier_probability: calibrated probability that rotation and direction err by less than 10 degrees;
            NaN where it is not known.
        metric: whether lengths are metres.
        scale_source: where the step's length comes from.
        estimator: name of the estimator.
        inference_time: seconds that the estimator took.
        attention: of a network on the current image (RelativePose.attention); None where none was asked.
    """

    previous_id: int
    current_id: int
    previous_stamp: float
    current_stamp: float
    camera: PoseWithCovariance
    base: PoseWithCovariance
    sigma_R: Array
    sigma_t: float
    inlier_probability: float
    metric: bool
    scale_source: str
    estimator: str
    inference_time: float
    attention: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Twist:
    """Velocity of the base in its own axes.

    Attributes:
        linear: (3,) metres, or units of the trajectory, per second.
        angular: (3,) radians per second.
        covariance: (6, 6), linear before angular, positive definite.
    """

    linear: Array
    angular: Array
    covariance: Array


@dataclass(frozen=True, eq=False)
class OdometryUpdate:
    """The answer to one frame.

    Attributes:
        state: tracking state after this frame.
        reason: one sentence that explains the state; empty while TRACKING.
        stamp: the frame's stamp, seconds.
        frame_id: the frame's camera.
        edge: motion since the previous keyframe, when this frame became a keyframe with a good pose.
        pose: T_odom_base at ``stamp``, with every edge and while STATIONARY (repeating the last one).
        twist: velocity of the base, with every pose; zero while STATIONARY.
        refused: the frame's stamp did not increase: it was not looked at and the state is that of before.
        repeated: the frame's pixels are those of the frame before, sent again: it measures nothing and the
            state is that of before.
    """

    state: TrackingState
    reason: str
    stamp: float
    frame_id: str
    edge: KeyframeEdge | None = None
    pose: PoseWithCovariance | None = None
    twist: Twist | None = None
    refused: bool = False
    repeated: bool = False
