"""Conversion of odometry results to ROS messages.

Message setters do not convert types: every number passes through float() or int().
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tf_transformations
from builtin_interfaces.msg import Time
from geometry_msgs import msg as geometry_msgs
from iup_pose_msgs import msg as iup_pose_msgs
from nav_msgs.msg import Odometry
from std_msgs.msg import Header

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.node.monitor import FrameCounts
from iup_pose_ros.odometry import KeyframeEdge, TrackingState, Twist
from iup_pose_ros.stamps import NANOSECONDS


def time_message(nanoseconds: int) -> Time:
    """Return a stamp in nanoseconds since the epoch as builtin_interfaces/Time."""
    seconds, rest = divmod(nanoseconds, NANOSECONDS)
    return Time(sec=seconds, nanosec=rest)


def header(stamp: Time, frame_id: str) -> Header:
    """Return a header with the image's own stamp message, which keeps its nanoseconds."""
    return Header(stamp=stamp, frame_id=frame_id)


def relative_pose(
    edge: KeyframeEdge, stamp: Time, camera_frame: str
) -> geometry_msgs.PoseWithCovarianceStamped:
    """Return the camera pose of the current keyframe in the camera frame of the previous one."""
    return geometry_msgs.PoseWithCovarianceStamped(
        header=header(stamp, camera_frame), pose=pose_with_covariance(edge.camera)
    )


def keyframe_edge(
    edge: KeyframeEdge, stamp: Time, previous_stamp: Time, base_frame: str, state: TrackingState
) -> iup_pose_msgs.RelativePose:
    """Return the pose-graph edge between two keyframes, in the base frame."""
    variances = np.diag(edge.base.covariance)[3:]
    return iup_pose_msgs.RelativePose(
        header=header(stamp, base_frame),
        previous_stamp=previous_stamp,
        previous_id=int(edge.previous_id),
        current_id=int(edge.current_id),
        pose=pose_with_covariance(edge.base),
        sigma_rotation=[float(sigma) for sigma in np.sqrt(variances)],
        sigma_direction=float(edge.sigma_t),
        inlier_probability=float(edge.inlier_probability),
        metric=bool(edge.metric),
        scale_source=edge.scale_source,
        bridged=bool(edge.bridged),
        estimator=edge.estimator,
        tracking_state=int(state),
        inference_time=float(edge.inference_time),
    )


def odometry(
    pose: PoseWithCovariance, twist: Twist, stamp: Time, odom_frame: str, base_frame: str
) -> Odometry:
    """Return the pose of the base in the odometry frame and its twist in the base frame."""
    return Odometry(
        header=header(stamp, odom_frame),
        child_frame_id=base_frame,
        pose=pose_with_covariance(pose),
        twist=twist_with_covariance(twist),
    )


def stamped_twist(twist: Twist, stamp: Time, base_frame: str) -> geometry_msgs.TwistWithCovarianceStamped:
    """Return the twist of the base in the base frame."""
    return geometry_msgs.TwistWithCovarianceStamped(
        header=header(stamp, base_frame), twist=twist_with_covariance(twist)
    )


def transform(pose: Pose, stamp: Time, parent: str, child: str) -> geometry_msgs.TransformStamped:
    """Return the pose ``T_parent_child`` as a transform for TF."""
    message = geometry_msgs.TransformStamped(header=header(stamp, parent), child_frame_id=child)
    message.transform.translation = _vector(pose.translation)
    message.transform.rotation = _quaternion(pose)
    return message


def stamped_pose(pose: Pose, stamp: Time, parent: str) -> geometry_msgs.PoseStamped:
    """Return the pose ``T_parent_base`` for a path."""
    message = geometry_msgs.PoseStamped(header=header(stamp, parent))
    x, y, z = (float(value) for value in pose.translation)
    message.pose.position = geometry_msgs.Point(x=x, y=y, z=z)
    message.pose.orientation = _quaternion(pose)
    return message


def tracking_state(
    stamp: Time,
    camera_frame: str,
    state: TrackingState,
    reason: str,
    counts: FrameCounts,
    keyframes: int,
    bridged: bool = False,
) -> iup_pose_msgs.TrackingState:
    """Return the tracking state after the image of this stamp."""
    return iup_pose_msgs.TrackingState(
        header=header(stamp, camera_frame),
        state=int(state),
        reason=reason,
        bridged=bool(bridged),
        frames_received=counts.received,
        frames_processed=counts.processed,
        frames_dropped_busy=counts.dropped_busy,
        frames_dropped_invalid=counts.dropped_invalid,
        keyframes=keyframes,
    )


def pose_with_covariance(pose: PoseWithCovariance) -> geometry_msgs.PoseWithCovariance:
    """Return the pose with its row-major covariance.

    Raises:
        EstimationError: as in ``covariance_values``.
    """
    x, y, z = (float(value) for value in pose.pose.translation)
    message = geometry_msgs.PoseWithCovariance(covariance=covariance_values(pose.covariance))
    message.pose.position = geometry_msgs.Point(x=x, y=y, z=z)
    message.pose.orientation = _quaternion(pose.pose)
    return message


def twist_with_covariance(twist: Twist) -> geometry_msgs.TwistWithCovariance:
    """Return the twist with its row-major covariance.

    Raises:
        EstimationError: as in ``covariance_values``.
    """
    message = geometry_msgs.TwistWithCovariance(covariance=covariance_values(twist.covariance))
    message.twist.linear = _vector(twist.linear)
    message.twist.angular = _vector(twist.angular)
    return message


def covariance_values(covariance: Array) -> Array:
    """Return the 36 values of a covariance (6, 6) in row-major order.

    Raises:
        EstimationError: it is not finite, symmetric and positive definite; filters do not check this.
    """
    if not np.isfinite(covariance).all():
        raise EstimationError(f"covariance has values that are not finite: {covariance.tolist()}")
    if not np.allclose(covariance, covariance.T, rtol=1e-6, atol=0.0):
        raise EstimationError(f"covariance is not symmetric: {covariance.tolist()}")
    if np.linalg.eigvalsh(covariance).min() <= 0.0:
        raise EstimationError(f"covariance is not positive definite: {covariance.tolist()}")
    return np.array(covariance, dtype=np.float64).reshape(36)


def _vector(values: Any) -> geometry_msgs.Vector3:
    x, y, z = (float(value) for value in values)
    return geometry_msgs.Vector3(x=x, y=y, z=z)


def _quaternion(pose: Pose) -> geometry_msgs.Quaternion:
    x, y, z, w = (float(value) for value in tf_transformations.quaternion_from_matrix(pose.matrix))
    return geometry_msgs.Quaternion(x=x, y=y, z=z, w=w)
