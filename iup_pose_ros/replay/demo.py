"""The demo: a recording through the visual odometry, its trajectory against ground truth, in one command."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console

from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.sequence import SequenceFolder, convert_sequence
from iup_pose_ros.bags.trajectory_io import read_tum, write_tum
from iup_pose_ros.bags.writer import Mount
from iup_pose_ros.camera_config import CameraConfig
from iup_pose_ros.errors import DataError
from iup_pose_ros.estimators.registry import create_estimator
from iup_pose_ros.evaluation.reports.console import print_table, write_metrics
from iup_pose_ros.evaluation.reports.trajectory_plot import plot_run
from iup_pose_ros.evaluation.runs.accuracy import evaluate_accuracy
from iup_pose_ros.evaluation.runs.run_record import RunRecord
from iup_pose_ros.evaluation.runs.summary import compute_metrics
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.trajectory import Trajectory
from iup_pose_ros.progress import progress_bar
from iup_pose_ros.replay.node_process import NodeProcessError
from iup_pose_ros.replay.offline import run_offline
from iup_pose_ros.replay.playback import run_in_node

# A camera that looks ahead, a little in front of and above the centre of a robot (REP-103: x ahead, z up).
_MOUNT = Mount(
    Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([0.2, 0.0, 0.1]))
)


@dataclass(frozen=True)
class DemoOptions:
    """What to run, and how.

    Attributes:
        bag: rosbag2 recording; None for the sequence or the rendered flight.
        ground_truth: TUM file with T_world_camera of the bag's camera, if there is one.
        sequence: sequence folder (bags/sequence.py).
        output: folder for the results, made if needed.
        estimator: name of the estimator.
        rate: speed of the replay, 1 as recorded; 0 waits for the node, so that no image is dropped.
        offline: whether to process every image without ROS instead.
        camera: how images and camera_info are read.
    """

    bag: Path | None
    ground_truth: Path | None
    sequence: Path | None
    output: Path
    estimator: str
    rate: float
    offline: bool
    camera: CameraConfig = field(default_factory=CameraConfig)


@dataclass(frozen=True, eq=False)
class _Input:
    name: str
    bag: Path
    ground_truth: Trajectory | None


def run_demo(options: DemoOptions, console: Console) -> str:
    """Run, print the table, write trajectory.tum, metrics.json and trajectory.png.

    Returns:
        Why the run failed, one sentence: the node died or lost track; empty where all went well.

    Raises:
        IupPoseError: input or output that is of no use.
    """
    create_estimator(options.estimator)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"output folder {options.output} cannot be made: {error.strerror}") from error
    with _input(options, console) as source, BagReader(source.bag, config=options.camera) as bag:
        try:
            record = _run(options, bag, console)
        except NodeProcessError as error:
            return str(error)
    for warning in (*bag.warnings, *record.notes):
        console.print(f"Beware: {warning}.")
    if record.poses:
        _report(options, source, record, console)
    return _failure(record)


def _run(options: DemoOptions, bag: BagReader, console: Console) -> RunRecord:
    if options.offline:
        with progress_bar(console, "every image, without ROS") as advance:
            estimator = create_estimator(options.estimator)
            return run_offline(bag, estimator, lambda: advance(bag.image_count))
    log = options.output / "vo_node.log"
    with progress_bar(console, "playing into vo_node") as advance:
        return run_in_node(
            bag, options.estimator, lambda: advance(bag.image_count), rate=options.rate, log=log
        )


def _report(options: DemoOptions, source: _Input, record: RunRecord, console: Console) -> None:
    accuracy = None
    if source.ground_truth is None:
        console.print("No ground truth: how accurate the trajectory is cannot be said.")
    else:
        accuracy = evaluate_accuracy(record, source.ground_truth)
    values = compute_metrics(record, accuracy)
    title = f"{record.estimator} on {source.name}, {record.mode}"
    print_table(console, title, values)
    write_tum(options.output / "trajectory.tum", record.trajectory, "T_odom_camera of the optical frame")
    write_metrics(options.output / "metrics.json", {record.estimator: values}, input=source.name)
    plot_run(options.output / "trajectory.png", title, record, accuracy)
    console.print(f"Written to {options.output}: trajectory.tum, metrics.json, trajectory.png")


def _failure(record: RunRecord) -> str:
    if not record.frames:
        return "no image was processed"
    last = record.frames[-1]
    if not record.poses:
        return f"no motion was measured; the tracker ended {last.state.name}: {last.reason}"
    lost = record.lost_frames
    if not lost:
        return ""
    after = lost[0].stamp - float(record.image_stamps[0])
    return (
        f"tracking was lost at {len(lost)} of {len(record.frames)} images, first after {after:.2f} s: "
        f"{lost[0].reason}"
    )


@contextlib.contextmanager
def _input(options: DemoOptions, console: Console) -> Iterator[_Input]:
    """The recording to play; one made of a sequence lasts as long as the context."""
    if options.bag is not None:
        truth = read_tum(options.ground_truth) if options.ground_truth is not None else None
        yield _Input(options.bag.name, options.bag, truth)
    elif options.sequence is not None:
        with tempfile.TemporaryDirectory() as folder:
            yield _converted(options.sequence, Path(folder) / "bag", console)
    else:
        yield _rendered(options.output / "flight", console)


def _rendered(folder: Path, console: Console) -> _Input:
    """The flight through the demo room; rendered the first time, then kept."""
    from iup_pose_ros.demo_scene.demo_recording import record_demo

    with progress_bar(console, "rendering the flight, once") as advance:
        recording = record_demo(folder, progress=lambda _, total: advance(total))
    return _Input("a flight through the demo room", recording.bag, read_tum(recording.groundtruth))


def _converted(folder: Path, bag: Path, console: Console) -> _Input:
    sequence = SequenceFolder.open(folder)
    with progress_bar(console, "making a bag of the sequence") as advance:
        convert_sequence(sequence, bag, mount=_MOUNT, progress=lambda _, total: advance(total))
    return _Input(folder.resolve().name, bag, sequence.groundtruth)
