"""Start vo_node and robot_localization's filter, which fuses its velocities and publishes odom -> base_link.

All arguments of vo.launch.py, and:

    metric:=false  the scale of vo_node is arbitrary: only its angular velocity is fused, the linear one comes
                   from wheel odometry (config/ekf_rotation_only.yaml)
    metric:=true   vo_node measures in metres: all six velocities are fused (config/ekf_metric.yaml)

    ros2 launch iup_pose_ros vo_ekf.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info
"""

from __future__ import annotations

import runpy
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

VO_LAUNCH_FILE = Path(__file__).resolve().parent / "vo.launch.py"
CONFIG = Path(__file__).resolve().parent.parent / "config"
EKF_PARAMS_FILES = {True: CONFIG / "ekf_metric.yaml", False: CONFIG / "ekf_rotation_only.yaml"}

# scale_source of vo_node -> whether its lengths are metres.
IS_METRIC = {
    "relative": False,
    "odometry": True,
    "depth": True,
    "range": True,
    "camera_height": True,
    "fixed": True,
}
SCALE_SOURCES = {True: "odometry", False: "relative"}

# Arguments of vo.launch.py that this launch file sets.
FOLLOWING = ("publish_tf",)

# Argument -> (default, description). Those of vo.launch.py that are not here keep their meaning.
ARGUMENTS = {
    "metric": ("false", "whether vo_node's linear velocity is in metres per second and is fused"),
    "scale_source": ("", "scale_source of vo_node; empty: odometry with metric:=true, else relative"),
    "base_frame": ("base_link", "frame of the robot, for vo_node and the filter"),
    "odom_frame": ("odom", "frame in which the filter and vo_node give the pose"),
    "wheel_odometry": ("wheel_odometry", "nav_msgs/Odometry of the wheels"),
    "ekf_params_file": (
        "",
        "parameters of ekf_node; empty: config/ekf_metric.yaml or ekf_rotation_only.yaml",
    ),
    "namespace": ("", "namespace of both nodes"),
    "use_sim_time": ("false", "take the time from /clock"),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start both nodes."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    # The other arguments of vo.launch.py, so that --show-args lists them here, too.
    others = runpy.run_path(str(VO_LAUNCH_FILE))["declared_arguments"]((*ARGUMENTS, *FOLLOWING))
    return LaunchDescription([*arguments, *others, OpaqueFunction(function=start_nodes)])


def start_nodes(context: LaunchContext) -> list[IncludeLaunchDescription | Node]:
    """Return vo_node without its transform, and the filter with the same frames."""
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    metric = boolean("metric", values["metric"])
    shared = ("base_frame", "odom_frame", "namespace", "use_sim_time")
    vo_arguments = {name: values[name] for name in shared} | {
        "scale_source": scale_source(values["scale_source"], metric),
        "publish_tf": "false",
        "wheel_odometry": values["wheel_odometry"],
    }
    vo_node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(VO_LAUNCH_FILE)), launch_arguments=vo_arguments.items()
    )
    frames = {
        "odom_frame": values["odom_frame"],
        "world_frame": values["odom_frame"],
        "base_link_frame": values["base_frame"],
        "use_sim_time": boolean("use_sim_time", values["use_sim_time"]),
    }
    ekf_node = Node(
        package="robot_localization",
        executable="ekf_node",
        name="ekf_node",
        namespace=values["namespace"],
        parameters=[values["ekf_params_file"] or str(EKF_PARAMS_FILES[metric]), frames],
        remappings=[("wheel_odometry", values["wheel_odometry"])],
        output="screen",
    )
    return [vo_node, ekf_node]


def scale_source(given: str, metric: bool) -> str:
    """Return the scale source of vo_node, which must be metric if the filter fuses its linear velocity.

    Raises:
        ValueError: it is unknown, or its arbitrary unit would be fused as metres.
    """
    source = given or SCALE_SOURCES[metric]
    accepted = [name for name, is_metric in IS_METRIC.items() if is_metric or not metric]
    if source not in accepted:
        raise ValueError(
            f"launch argument scale_source is {source!r}; "
            f"with metric:={str(metric).lower()} it can be {', '.join(accepted[:-1])} or {accepted[-1]}"
        )
    return source


def boolean(name: str, text: str) -> bool:
    """Convert a launch argument's text to a boolean.

    Raises:
        ValueError: the text is neither true nor false.
    """
    if text.lower() not in ("true", "false"):
        raise ValueError(f"launch argument {name} is {text!r}; true or false is required")
    return text.lower() == "true"
