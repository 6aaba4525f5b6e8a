"""Visual odometry without ROS: tracks, keyframes, scale, integration, loss and recovery."""

from iup_pose_ros.odometry.metric_scale import MetricSensors
from iup_pose_ros.odometry.odometry_config import OdometryConfig
from iup_pose_ros.odometry.state import KeyframeEdge, OdometryUpdate, TrackingState, Twist
from iup_pose_ros.odometry.visual_odometry import VisualOdometry
from iup_pose_ros.odometry.wheels import WheelHistory, WheelMotion

__all__ = [
    "KeyframeEdge",
    "MetricSensors",
    "OdometryConfig",
    "OdometryUpdate",
    "TrackingState",
    "Twist",
    "VisualOdometry",
    "WheelHistory",
    "WheelMotion",
]
