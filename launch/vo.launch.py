"""Start vo_node.

Arguments that are left empty keep the value of params_file:

    ros2 launch iup_pose_ros vo.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

DEFAULT_PARAMS_FILE = Path(__file__).resolve().parent.parent / "config" / "vo.yaml"

LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")

# Input topics that arguments of the same name remap.
TOPICS = ("image", "camera_info", "mask", "wheel_odometry", "imu", "depth", "range")

# Other argument -> (default, description).
ARGUMENTS = {
    "image": ("camera/image", "topic of the images; /compressed is appended for compressed ones"),
    "camera_info": ("camera/camera_info", "topic of camera_info"),
    "mask": ("mask", "topic of masks of the images, non-zero where pixels are ignored"),
    "wheel_odometry": ("wheel_odometry", "topic of the wheel odometry, for scale_source or motion_prior"),
    "imu": ("imu", "topic of the IMU, for motion_prior:=imu"),
    "depth": ("depth", "topic of the registered depth images, for scale_source:=depth"),
    "range": ("range", "topic of the range sensor, for scale_source:=range"),
    "params_file": (str(DEFAULT_PARAMS_FILE), "file with the values of all parameters"),
    "namespace": ("", "namespace of the node"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
}


def declared_parameters() -> dict[str, tuple[str, str]]:
    """Return type and description of every parameter of the node, from the params file.

    config/vo.yaml is generated from the node's declarations. It is read, rather than the package imported,
    because launch runs in the system's Python, which may lack what the package needs.
    """
    text = DEFAULT_PARAMS_FILE.read_text(encoding="utf-8")
    defaults = yaml.safe_load(text)["/**"]["ros__parameters"]
    parameters = {"use_sim_time": ("bool", "Take the time from /clock.")}
    comment: list[str] = []
    for line in map(str.strip, text.splitlines()):
        name = line.partition(":")[0]
        if name in defaults:
            parameters[name] = (type(defaults[name]).__name__, " ".join(comment))
        comment = [*comment, line.lstrip("#* ")] if line.startswith("#") else []
    return parameters


# Parameter of the node -> (type, description). The argument of the same name sets it.
PARAMETER_ARGUMENTS = declared_parameters()


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the node."""
    return LaunchDescription([*declared_arguments(), OpaqueFunction(function=start_node)])


def declared_arguments(without: Collection[str] = ()) -> list[DeclareLaunchArgument]:
    """Return all arguments; launch files that include this one leave out those that they set themselves."""
    parameters = {
        name: ("", f"{text} Empty: as in params_file.") for name, (_, text) in PARAMETER_ARGUMENTS.items()
    }
    return [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in {**ARGUMENTS, **parameters}.items()
        if name not in without
    ]


def start_node(context: LaunchContext) -> list[Action]:
    """Return the node with the parameters of params_file, overridden by those given as arguments.

    Raises:
        ValueError: an argument has a value that is not accepted.
    """
    values = {name: LaunchConfiguration(name).perform(context) for name in (*ARGUMENTS, *PARAMETER_ARGUMENTS)}
    if values["log_level"].lower() not in LOG_LEVELS:
        raise ValueError(
            f"launch argument log_level is {values['log_level']!r}; accepted: {', '.join(LOG_LEVELS)}"
        )
    if not Path(values["params_file"]).is_file():
        raise ValueError(f"launch argument params_file is {values['params_file']!r}, which does not exist")
    given = {
        name: parameter_value(name, values[name], kind)
        for name, (kind, _) in PARAMETER_ARGUMENTS.items()
        if values[name]
    }
    return [
        *large_images(),
        Node(
            package="iup_pose_ros",
            executable="vo_node",
            name="vo_node",
            namespace=values["namespace"],
            parameters=[values["params_file"], given],
            remappings=[(topic, values[topic]) for topic in TOPICS],
            arguments=["--ros-args", "--log-level", values["log_level"]],
            output="screen",
        ),
    ]


def large_images() -> list[Action]:
    """Return the Fast DDS profile for large images, unless the user has set a profile."""
    package = importlib.util.find_spec("iup_pose_ros")
    if "FASTDDS_DEFAULT_PROFILES_FILE" in os.environ or package is None or package.origin is None:
        return []
    profile = Path(package.origin).parent / "replay" / "fastdds_large_images.xml"
    return (
        [SetEnvironmentVariable("FASTDDS_DEFAULT_PROFILES_FILE", str(profile))] if profile.is_file() else []
    )


def parameter_value(name: str, text: str, kind: str) -> Any:
    """Convert an argument's text to the parameter's type; an integer is accepted for a float.

    Raises:
        ValueError: the text is not a value of that type.
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
    raise ValueError(f"launch argument {name} is {text!r}; a {kind} is required")
