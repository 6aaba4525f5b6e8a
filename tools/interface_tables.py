"""Write the tables of the ROS interface into the pages of docs/, between markers; --check only compares.

Usage: .venv/bin/python tools/interface_tables.py [--check]

Parameters and states are read from their declarations in the code. Topics and services are declared here; a
test compares them with those of a running node.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from iup_pose_ros.node.settings import PARAMETERS
from iup_pose_ros.odometry import TrackingState

DOCS = Path(__file__).resolve().parent.parent / "docs"

# Page -> the tables it holds.
PAGES = {
    "ros_interface.md": ("subscribed", "published", "services", "states"),
    "parameters.md": ("parameters",),
}

# Topic -> (type, meaning).
SUBSCRIBED = {
    "image": (
        "sensor_msgs/Image",
        "rgb8, bgr8, rgba8 and bgra8 (or 16), mono8, mono16, 8UC1/3/4, 16UC1/3, 32FC1, bayer of 8 and 16 "
        "bits, yuv422, nv12 and others; with `image_transport` compressed `sensor_msgs/CompressedImage` "
        "(JPEG, PNG, WebP, TIFF, BMP) on `image/compressed`",
    ),
    "camera_info": (
        "sensor_msgs/CameraInfo",
        "plumb_bob, rational_polynomial or equidistant, of the same `frame_id` as the image; binning and "
        "region of interest are applied; paired with the image by equal stamps, or within `sync_slop`; the "
        "last one is reused if its rate is lower than that of the images",
    ),
    "mask": (
        "sensor_msgs/Image",
        "optional; mono8 of the size of the images, non-zero where pixels are ignored (moving objects); the "
        "last one within `mask_timeout`, or that of the image's stamp (`mask_policy`)",
    ),
    "wheel_odometry": (
        "nav_msgs/Odometry",
        "only with `scale_source` odometry, the length of every step in metres, or `motion_prior` odometry",
    ),
    "imu": (
        "sensor_msgs/Imu",
        "only with `motion_prior` imu: angular velocities, in a frame that TF joins with `base_frame`",
    ),
    "depth": (
        "sensor_msgs/Image",
        "only with `scale_source` depth: depth image of the camera's size and view, 16UC1 in millimetres or "
        "32FC1 in metres, within `depth_slop` of its image; with `depth_transport` compressedDepth "
        "`sensor_msgs/CompressedImage` on `depth/compressedDepth`",
    ),
    "range": (
        "sensor_msgs/Range",
        "only with `scale_source` range: distance along the x axis of its frame, whose place on the robot is "
        "known by TF, to a surface that the camera sees",
    ),
    "/tf": ("tf2_msgs/TFMessage", "pose of the camera on the robot, `base_frame` <- camera frame"),
    "/tf_static": ("tf2_msgs/TFMessage", "the same, latched"),
}
PUBLISHED = {
    "~/relative_pose": (
        "geometry_msgs/PoseWithCovarianceStamped",
        "pose of the current keyframe's camera in the previous keyframe's camera frame",
    ),
    "~/keyframe_edge": (
        "iup_pose_msgs/RelativePose",
        "the same motion in the base frame, for a pose graph: both stamps and ids, sigmas, probability "
        "that the errors are below 10 degrees, scale source, estimator",
    ),
    "~/odometry": (
        "nav_msgs/Odometry",
        "pose of `base_frame` in `odom_frame` with accumulated covariance, and the twist",
    ),
    "~/twist": (
        "geometry_msgs/TwistWithCovarianceStamped",
        "mean velocity since the last image with a pose, in `base_frame`; stamp in the middle of that time; "
        "fuse this in a filter",
    ),
    "~/path": ("nav_msgs/Path", "the last `path_length` keyframe poses; only while subscribed"),
    "~/tracking_state": (
        "iup_pose_msgs/TrackingState",
        "state, reason and counters after every image; latched (transient local)",
    ),
    "~/debug_image": (
        "sensor_msgs/Image",
        "tracks since the last keyframe, state, reason, sigmas and, at keyframes, the network's attention; "
        "only while subscribed",
    ),
    "/tf": ("tf2_msgs/TFMessage", "`odom_frame` -> `base_frame`, with `publish_tf`"),
    "/diagnostics": (
        "diagnostic_msgs/DiagnosticArray",
        "once per second: rates, latencies, dropped images by cause, state, device, memory, weights",
    ),
}
SERVICES = {
    "~/reset": ("std_srvs/Trigger", "set the pose to the origin and clear its covariance"),
    "~/pause": ("std_srvs/SetBool", "true: ignore images; false: resume"),
    "~/save_trajectory": (
        "iup_pose_msgs/SaveTrajectory",
        "write the trajectory, the last 400,000 poses of it, as a TUM file into `output_directory`",
    ),
}
# State -> (meaning, what is published).
STATES = {
    TrackingState.INITIALIZING: (
        "no motion has been measured yet; the reason names what is missing: images, camera_info, the "
        "transform of the camera, or a first step",
        "the state only",
    ),
    TrackingState.TRACKING: (
        "motion is being measured",
        "odometry, twist and TF for every image, or at keyframes with `odometry_rate` keyframe; the other "
        "topics at keyframes",
    ),
    TrackingState.STATIONARY: ("the camera is at rest", "the last pose again, with zero twist"),
    TrackingState.LOST: (
        "motion cannot be measured; the reason says why",
        "the state only; the pose is kept, and its covariance grows with the possible motion during the gap. "
        "With `motion_prior` also odometry and TF, `bridged` true",
    ),
}


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown; bars in cells are escaped, as they would end the cell."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def interface_table(kind: str, entries: dict[str, tuple[str, str]]) -> str:
    """Return the table of topics or services."""
    rows = [(f"`{name}`", f"`{type_name}`", meaning) for name, (type_name, meaning) in entries.items()]
    return table((kind, "type", "meaning"), rows)


def parameters_table() -> str:
    """Return a row per parameter: default, accepted values, whether it can change at run time, meaning."""
    rows = [
        (
            f"`{parameter.name}`",
            f"`{_as_yaml(parameter.default)}`",
            parameter.accepted,
            "yes" if parameter.at_run_time else "",
            parameter.description,
        )
        for parameter in PARAMETERS.values()
    ]
    return table(("parameter", "default", "accepted", "at run time", "meaning"), rows)


def states_table() -> str:
    """Return a row per tracking state."""
    rows = [(f"{state.name} ({state.value})", *STATES[state]) for state in TrackingState]
    return table(("state", "meaning", "published"), rows)


def tables() -> dict[str, str]:
    """Return the tables by the name of their markers."""
    return {
        "subscribed": interface_table("topic", SUBSCRIBED),
        "published": interface_table("topic", PUBLISHED),
        "services": interface_table("service", SERVICES),
        "states": states_table(),
        "parameters": parameters_table(),
    }


def updated(text: str, names: Sequence[str]) -> str:
    """Return the text of a page with the named tables replaced between their markers.

    Raises:
        ValueError: a marker is missing or there more than once.
    """
    contents = tables()
    for name in names:
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise ValueError(f"{begin} and {end} must both be there once, in this order")
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{contents[name]}\n{end}{rest.split(end)[1]}"
    return text


def main(arguments: Sequence[str]) -> int:
    """Write the tables, or with --check return 1 if a page has others."""
    status = 0
    for page, names in PAGES.items():
        path = DOCS / page
        text = path.read_text(encoding="utf-8")
        try:
            wanted = updated(text, names)
        except ValueError as error:
            print(f"docs/{page}: {error}", file=sys.stderr)
            return 1
        if text == wanted:
            continue
        if "--check" in arguments:
            print(f"docs/{page} is out of date: .venv/bin/python tools/interface_tables.py", file=sys.stderr)
            status = 1
        else:
            path.write_text(wanted, encoding="utf-8")
    return status


def _as_yaml(value: bool | int | float | str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) or '""'


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
