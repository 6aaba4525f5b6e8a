"""Play a recording to vo_node, record the node's outputs, and evaluate them.

    ros2 launch iup_pose_ros replay.launch.py bag:=/data/run_1 gt:=/data/run_1.tum

In turn: vo_node and `ros2 bag record` start; when both are ready, `ros2 bag play` plays; when it ends, the
recording ends; then `iup-pose evaluate bag` writes <output>/report/report.html, and the launch is over. The
camera topics are found in the bag where they are not given. All arguments of vo.launch.py are accepted.
"""

from __future__ import annotations

import json
import runpy
import signal
import subprocess
import sys
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown, matches_action
from launch.events.process import ProcessExited, SignalProcess
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

# Launch files run in the system's Python, outside the virtual environment of iup-pose.
IUP_POSE = ("ros2", "run", "iup_pose_ros", "iup-pose")
VO_LAUNCH_FILE = Path(__file__).resolve().parent / "vo.launch.py"
NODE = "/vo_node"
OUTPUTS = ("odometry", "keyframe_edge", "tracking_state")
# Seconds from the player's start to its first message: vo_node adapts to the publishers meanwhile.
DELAY = "2.0"
# Seconds after the last message for images that are still being processed.
REST = 3.0

# Arguments of vo.launch.py that this launch file sets.
FOLLOWING = ("image_transport", "assume_identity_mount", "namespace")

# Argument -> (default, description); None: it must be given. The others of vo.launch.py keep their meaning.
ARGUMENTS = {
    "bag": (None, "rosbag2 recording to play"),
    "gt": ("", "ground truth: TUM or KITTI file, T_world_camera"),
    "gt_topic": ("", "topic of the recording with ground truth"),
    "gt_frame": (
        "",
        "frame of the ground-truth poses; empty: that of its messages, else the camera",
    ),
    "output": ("replay_output", "folder to create for the recorded outputs and the report"),
    "rate": ("1.0", "playback rate, 1 as recorded"),
    "image": ("", "topic of the images; empty: the one in the recording"),
    "camera_info": ("", "topic of their calibration; empty: the one in the recording"),
    "base_frame": (
        "base_link",
        "frame of the robot; taken for the camera's if /tf_static lacks the camera's pose on it",
    ),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the processes."""
    arguments = [
        DeclareLaunchArgument(
            name, description=text, **({} if default is None else {"default_value": default})
        )
        for name, (default, text) in ARGUMENTS.items()
    ]
    # The other arguments of vo.launch.py, so that --show-args lists them here, too.
    others = runpy.run_path(str(VO_LAUNCH_FILE))["declared_arguments"]((*ARGUMENTS, *FOLLOWING))
    return LaunchDescription([*arguments, *others, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[Action]:
    """Return all processes; each starts when the previous one ends."""
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    output = Path(values["output"])
    if (output / "outputs").exists():
        raise ValueError(f"launch argument output is {str(output)!r}, which holds a recording already")
    output.mkdir(parents=True, exist_ok=True)
    vo_arguments = camera_arguments(values)
    image, info = vo_arguments["image"], vo_arguments["camera_info"]
    recorder = ExecuteProcess(cmd=record_command(output, info), output="screen")
    waiting = ExecuteProcess(cmd=wait_command(image), output="screen")
    player = ExecuteProcess(cmd=play_command(values), output="screen")
    evaluation = ExecuteProcess(cmd=evaluate_command(values, output, image, info), output="screen")
    end_recording = EmitEvent(
        event=SignalProcess(signal_number=signal.SIGINT, process_matcher=matches_action(recorder))
    )
    vo_node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(VO_LAUNCH_FILE)), launch_arguments=vo_arguments.items()
    )
    return [
        vo_node,
        recorder,
        waiting,
        after(waiting, [player]),
        after(player, [TimerAction(period=REST, actions=[end_recording])]),
        after(recorder, [evaluation], endings=(0, signal.SIGINT, -signal.SIGINT)),
        after(evaluation, [EmitEvent(event=Shutdown(reason="the report is written"))]),
    ]


def after(
    process: ExecuteProcess, following: list[Action], endings: tuple[int, ...] = (0,)
) -> RegisterEventHandler:
    """Return a handler that starts actions if a process ends with one of these codes, else shuts down."""

    def choose(event: ProcessExited, _: LaunchContext) -> list[Action]:
        if event.returncode in endings:
            return following
        reason = f"{event.process_name} ended with exit code {event.returncode}"
        return [EmitEvent(event=Shutdown(reason=reason))]

    return RegisterEventHandler(OnProcessExit(target_action=process, on_exit=choose))


def camera_arguments(values: dict[str, str]) -> dict[str, str]:
    """Return the arguments of vo.launch.py that follow from the recording.

    Raises:
        ValueError: the recording is unusable; the message is that of `iup-pose bag-camera`.
    """
    options = {
        "--image-topic": values["image"],
        "--info-topic": values["camera_info"],
        "--base-frame": values["base_frame"],
    }
    given = [word for name, value in options.items() if value for word in (name, value)]
    command = [*IUP_POSE, "bag-camera", values["bag"], *given]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise ValueError(answer.stderr.strip() or f"{' '.join(command)} failed: {answer.stdout.strip()}")
    return {**json.loads(answer.stdout), "base_frame": values["base_frame"], "namespace": ""}


def record_command(output: Path, info: str) -> list[str]:
    """Return the command that records the node's outputs; mcap includes the definitions of their types."""
    topics = "|".join([*(f"{NODE}/{name}" for name in OUTPUTS), info])
    return ["ros2", "bag", "record", "-s", "mcap", "-o", str(output / "outputs"), "-e", f"^({topics})$"]


def wait_command(image: str) -> list[str]:
    """Return the command that waits until the node subscribes and is recorded."""
    return [sys.executable, "-m", "iup_pose_ros.replay.readiness", "--node", NODE, "--image", image]


def play_command(values: dict[str, str]) -> list[str]:
    """Return the command that plays the recording once."""
    return ["ros2", "bag", "play", values["bag"], "--rate", values["rate"], "--delay", DELAY]


def evaluate_command(values: dict[str, str], output: Path, image: str, info: str) -> list[str]:
    """Return the command that evaluates the recorded outputs."""
    options = {
        "--recorded": str(output / "outputs"),
        "--report": str(output / "report"),
        "--image-topic": image,
        "--info-topic": info,
        "--gt": values["gt"],
        "--gt-topic": values["gt_topic"],
        "--gt-frame": values["gt_frame"],
    }
    given = [word for name, value in options.items() if value for word in (name, value)]
    return [*IUP_POSE, "evaluate", "bag", values["bag"], *given]
