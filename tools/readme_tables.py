"""Writes the tables of the ROS interface into README.md, between markers; --check only compares.

Usage: .venv/bin/python tools/readme_tables.py [--check]

Parameters and states come from the declarations in the code. Topics and services stand here, and a test
compares them with those of a running node.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from iup_pose_ros.node.settings import PARAMETERS
from iup_pose_ros.odometry import TrackingState

README = Path(__file__).resolve().parent.parent / "README.md"

# Topic -> (type, meaning).
SUBSCRIBED = {
    "image": (
        "sensor_msgs/Image",
        "rgb8, bgr8, rgba8, bgra8, mono8, mono16, 8UC1/3/4, 16UC1, bayer, yuv422, nv12 and others; with "
        "`image_transport` compressed `sensor_msgs/CompressedImage` (JPEG, PNG) on `image/compressed`",
    ),
    "camera_info": (
        "sensor_msgs/CameraInfo",
        "plumb_bob, rational_polynomial or equidistant; paired with the image by equal stamps, or within "
        "`sync_slop`",
    ),
    "wheel_odometry": (
        "nav_msgs/Odometry",
        "with `scale_source` odometry: gives the length of every step, in metres",
    ),
    "/tf": ("tf2_msgs/TFMessage", "mount of the camera, `base_frame` <- camera frame"),
    "/tf_static": ("tf2_msgs/TFMessage", "the same, latched"),
}
PUBLISHED = {
    "~/relative_pose": (
        "geometry_msgs/PoseWithCovarianceStamped",
        "pose of the current keyframe's camera in the previous keyframe's camera frame",
    ),
    "~/keyframe_edge": (
        "iup_pose_msgs/RelativePose",
        "the same in the base frame, for a pose graph: both stamps and ids, sigmas, scale source, estimator",
    ),
    "~/odometry": (
        "nav_msgs/Odometry",
        "pose of `base_frame` in `odom_frame` with accumulated covariance, and the twist",
    ),
    "~/twist": (
        "geometry_msgs/TwistWithCovarianceStamped",
        "mean velocity of the last step in `base_frame`: what a filter should fuse",
    ),
    "~/path": ("nav_msgs/Path", "the last `path_length` poses, while somebody listens"),
    "~/tracking_state": (
        "iup_pose_msgs/TrackingState",
        "state, reason and counters after every image; latched",
    ),
    "~/debug_image": (
        "sensor_msgs/Image",
        "tracks since the last keyframe, state, reason and sigma, and at keyframes the network's attention; "
        "drawn while somebody looks",
    ),
    "/tf": ("tf2_msgs/TFMessage", "`odom_frame` -> `base_frame`, with `publish_tf`"),
    "/diagnostics": (
        "diagnostic_msgs/DiagnosticArray",
        "once a second: rates, latencies, drops with their cause, state, device, memory, weights",
    ),
}
SERVICES = {
    "~/reset": ("std_srvs/Trigger", "pose back to the origin, covariance cleared"),
    "~/pause": ("std_srvs/SetBool", "true: images are ignored until false is called"),
    "~/save_trajectory": (
        "iup_pose_msgs/SaveTrajectory",
        "the trajectory so far as a TUM file in `output_directory`",
    ),
}
# State -> (meaning, what is published).
STATES = {
    TrackingState.INITIALIZING: (
        "no motion measured yet; the reason says what is missing (images, camera_info, the mount's "
        "transform, a first step)",
        "state only",
    ),
    TrackingState.TRACKING: ("motion is measured", "everything, at keyframes"),
    TrackingState.STATIONARY: ("the camera stands still", "the last pose again, zero twist"),
    TrackingState.LOST: (
        "motion cannot be measured; the reason says why",
        "state only; the pose stays and its covariance grows by what the gap may hold",
    ),
}


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; a bar in a cell would end the cell."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def interface_table(kind: str, entries: dict[str, tuple[str, str]]) -> str:
    """Topics or services."""
    rows = [(f"`{name}`", f"`{type_name}`", meaning) for name, (type_name, meaning) in entries.items()]
    return table((kind, "type", "meaning"), rows)


def parameters_table() -> str:
    """Every parameter: default, accepted values, whether it can change while the node runs, meaning."""
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
    """The tracking states, all of them."""
    rows = [(f"{state.name} ({state.value})", *STATES[state]) for state in TrackingState]
    return table(("state", "meaning", "published"), rows)


def tables() -> dict[str, str]:
    """Name of the markers -> table."""
    return {
        "subscribed": interface_table("topic", SUBSCRIBED),
        "published": interface_table("topic", PUBLISHED),
        "services": interface_table("service", SERVICES),
        "states": states_table(),
        "parameters": parameters_table(),
    }


def updated(text: str) -> str:
    """The text with every table between its markers.

    Raises:
        ValueError: a marker is missing or there more than once.
    """
    for name, content in tables().items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise ValueError(f"{begin} and {end} must both be there once, in this order")
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{content}\n{end}{rest.split(end)[1]}"
    return text


def main(arguments: Sequence[str]) -> int:
    """Writes the tables, or with --check returns 1 where README.md has others."""
    text = README.read_text(encoding="utf-8")
    try:
        wanted = updated(text)
    except ValueError as error:
        print(f"README.md: {error}", file=sys.stderr)
        return 1
    if text == wanted:
        return 0
    if "--check" in arguments:
        print("README.md is out of date: .venv/bin/python tools/readme_tables.py", file=sys.stderr)
        return 1
    README.write_text(wanted, encoding="utf-8")
    return 0


def _as_yaml(value: bool | int | float | str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) or '""'


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
