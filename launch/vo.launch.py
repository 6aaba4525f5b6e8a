"""Starts vo_node.

Arguments that are left empty keep the value of params_file:

    ros2 launch iup_pose_ros vo.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

DEFAULT_PARAMS_FILE = Path(__file__).resolve().parent.parent / "config" / "vo.yaml"

# Parameter of the node -> (type, description). The argument of the same name sets it.
PARAMETER_ARGUMENTS = {
    "estimator": ("str", "what measures the motion between two images"),
    "weights": ("str", "weights file of the network's estimators"),
    "device": ("str", "where the network runs: 'auto', 'cpu', 'cuda' or 'cuda:N'"),
    "precision": ("str", "of the network's arithmetic"),
    "image_area": ("int", "pixels of the network's input; 0: as the weights say"),
    "ask_network": ("str", "when hybrid runs the network: 'auto', 'always' or 'when_needed'"),
    "on_out_of_memory": ("str", "'lower_resolution' or 'cpu'"),
    "base_frame": ("str", "frame of the robot whose motion is published"),
    "odom_frame": ("str", "frame in which the pose is given"),
    "publish_tf": ("bool", "broadcast odom_frame -> base_frame"),
    "image_transport": ("str", "'raw' or 'compressed'"),
    "image_is_rectified": ("bool", "images are undistorted already: use P, ignore D"),
    "sync_slop": ("float", "largest difference between the stamps of image and camera_info; s"),
    "assume_identity_mount": ("bool", "take the camera's optical frame as base_frame, without asking TF"),
    "keyframe_parallax": ("float", "motion that makes a keyframe; fraction of the image width"),
    "keyframe_rotation": ("float", "turn that makes a keyframe; rad"),
    "keyframe_interval": ("float", "age of the last keyframe that makes the next; s"),
    "scale_source": ("str", "'relative', 'odometry' (wheel odometry) or 'fixed'"),
    "fixed_step_length": ("float", "length of a step between keyframes where scale_source is 'fixed'; m"),
    "path_length": ("int", "poses in ~/path"),
    "output_directory": ("str", "folder into which ~/save_trajectory writes"),
    "autostart": ("bool", "configure and activate at once"),
    "use_sim_time": ("bool", "take the time from /clock"),
}

# Other argument -> (default, description).
ARGUMENTS = {
    "image": ("camera/image", "topic of the images; /compressed is appended for compressed ones"),
    "camera_info": ("camera/camera_info", "topic of their calibration"),
    "wheel_odometry": ("wheel_odometry", "topic of the wheel odometry, for scale_source:=odometry"),
    "params_file": (str(DEFAULT_PARAMS_FILE), "file with the values of all parameters"),
    "namespace": ("", "namespace of the node"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
}


def generate_launch_description() -> LaunchDescription:
    """The arguments, then the node."""
    parameters = [
        DeclareLaunchArgument(name, default_value="", description=f"{text}; empty: as in params_file")
        for name, (_, text) in PARAMETER_ARGUMENTS.items()
    ]
    others = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*others, *parameters, OpaqueFunction(function=start_node)])


def start_node(context: LaunchContext) -> list[Node]:
    """The node with the parameters of params_file, those given as arguments before them."""
    values = {name: LaunchConfiguration(name).perform(context) for name in (*ARGUMENTS, *PARAMETER_ARGUMENTS)}
    given = {
        name: parameter_value(name, values[name], kind)
        for name, (kind, _) in PARAMETER_ARGUMENTS.items()
        if values[name]
    }
    return [
        Node(
            package="iup_pose_ros",
            executable="vo_node",
            name="vo_node",
            namespace=values["namespace"],
            parameters=[values["params_file"], given],
            remappings=[(topic, values[topic]) for topic in ("image", "camera_info", "wheel_odometry")],
            arguments=["--ros-args", "--log-level", values["log_level"]],
            output="screen",
        )
    ]


def parameter_value(name: str, text: str, kind: str) -> Any:
    """An argument's text as a value of the parameter's type, so that 1 is good enough for 1.0.

    Raises:
        ValueError: the text is no value of that type.
    """
    if kind == "str":
        return text
    value = yaml.safe_load(text)
    if kind == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "int" and isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"launch argument {name} is {text!r}; a {kind} is needed")
