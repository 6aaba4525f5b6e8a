"""Results of the odometry for every frame."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.geometry.pose import PoseWithCovariance
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.odometry.scaled_step import ScaledStep
from iup_pose_ros.odometry.tracks import Tracks
from iup_pose_ros.types import RelativePose


class TrackingState(enum.IntEnum):
    """Tracking state; the values are those of iup_pose_msgs/TrackingState."""

    INITIALIZING = 0
    TRACKING = 1
    STATIONARY = 2
    LOST = 3


@dataclass(frozen=True, eq=False)
class KeyframeEdge:
    """Motion between two keyframes, an edge of a pose graph.

    Attributes:
        previous_id: number of the previous keyframe; keyframes count from 0.
        current_id: number of the current keyframe.
        previous_stamp: seconds.
        current_stamp: seconds.
        camera: T_prev_curr of the camera, scaled, covariance in the previous camera frame.
        base: T_prev_curr of the base frame, covariance in the previous base frame.
        sigma_R: (3,) standard deviations of the rotation about the previous camera's axes, radians.
        sigma_t: standard deviation of the direction of translation per axis of its tangent plane, radians;
            pi/2 if the direction is unknown.
        inlier_probability: calibrated probability that rotation and direction err by less than 10 degrees;
            NaN if unknown.
        metric: whether lengths are metres.
        scale_source: source of the step's length.
        estimator: name of the estimator.
        inference_time: inference time of the estimator, seconds.
        attention: of a network on the current image (RelativePose.attention); None if no network was run.
        bridged: the motion is that of the motion prior during a loss, not measured in images.
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
    bridged: bool = False

    @classmethod
    def of(
        cls,
        tracks: Tracks,
        current_id: int,
        relative: RelativePose,
        step: ScaledStep,
        base: PoseWithCovariance,
        estimator: str,
        inference_time: float,
    ) -> KeyframeEdge:
        """Return the edge of a step from the keyframe of tracks to their latest frame; see the attributes."""
        probability = relative.inlier_probability
        return cls(
            previous_id=tracks.keyframe_id,
            current_id=current_id,
            previous_stamp=tracks.keyframe.stamp,
            current_stamp=tracks.latest.stamp,
            camera=step.camera,
            base=base,
            sigma_R=relative.sigma_R,
            sigma_t=step.sigma_t,
            inlier_probability=math.nan if probability is None else probability,
            metric=step.metric,
            scale_source=step.source,
            estimator=estimator,
            inference_time=inference_time,
            attention=relative.attention,
        )


@dataclass(frozen=True, eq=False)
class Twist:
    """Velocity of the base in the base frame.

    Attributes:
        linear: (3,) metres, or units of the trajectory, per second.
        angular: (3,) radians per second.
        covariance: (6, 6), linear before angular, positive definite.
        interval: seconds until the stamp over which this is the mean; 0 of a base at rest.
    """

    linear: Array
    angular: Array
    covariance: Array
    interval: float = 0.0


@dataclass(frozen=True, eq=False)
class OdometryUpdate:
    """The result of one frame.

    Attributes:
        state: tracking state after this frame.
        reason: one sentence that explains the state; empty while TRACKING.
        stamp: the frame's stamp, seconds.
        frame_id: the camera frame.
        edge: motion since the previous keyframe, if this frame became a keyframe with a valid pose.
        pose: T_odom_base at ``stamp``: while TRACKING where the tracks determine it, at keyframes only if
            ``odometry_rate`` is ``keyframe``; while STATIONARY the pose of the keyframe.
        twist: mean velocity of the base since the last image with a pose, with every pose; zero while
            STATIONARY.
        refused: the frame was dropped because its stamp does not increase; the state is unchanged.
        repeated: the frame was ignored because it repeats the pixels of the previous frame; the state is
            unchanged.
        bridged: while LOST, the pose continues from the motion prior.
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
    bridged: bool = False
