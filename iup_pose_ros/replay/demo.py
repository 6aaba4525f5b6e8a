"""The demo: `evaluate bag` on a rendered flight with the running node, and a summary of six lines."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console

from iup_pose_ros.bags.sequence import SequenceFolder, convert_sequence
from iup_pose_ros.bags.trajectory_io import write_tum
from iup_pose_ros.bags.writer import CameraExtrinsics
from iup_pose_ros.evaluation.reports.console import print_summary, write_metrics
from iup_pose_ros.evaluation.reports.trajectory_plot import plot_run
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.progress import progress_bar
from iup_pose_ros.replay.bag_evaluation import BagEvaluationOptions, TruthSource, run_evaluation

# A forward-looking camera, in front of and above the centre of a robot (REP-103: x forward, z up).
_EXTRINSICS = CameraExtrinsics(
    Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([0.2, 0.0, 0.1]))
)


@dataclass(frozen=True)
class DemoOptions:
    """Input and settings of the demo.

    Attributes:
        bag: rosbag2 recording; None for the sequence or the rendered flight.
        ground_truth: TUM file with T_world_camera of the bag's camera, if any.
        sequence: sequence folder (bags/sequence.py).
        output: folder for the results, created if needed.
        rate: playback rate, 1 as recorded; 0 waits for the node, so that no image is dropped.
        offline: process every image without ROS instead of running the node.
        config: settings of the node.
    """

    bag: Path | None
    ground_truth: Path | None
    sequence: Path | None
    output: Path
    rate: float
    offline: bool
    config: NodeConfig = field(default_factory=NodeConfig)


@dataclass(frozen=True)
class _Input:
    name: str
    bag: Path
    ground_truth: Path | None


def run_demo(options: DemoOptions, console: Console) -> str:
    """Evaluate the recording, add trajectory.tum and trajectory.png to its report, print a summary.

    Returns:
        Why tracking failed, one sentence; empty on success.

    Raises:
        NodeProcessError: the node exits unexpectedly.
        IupPoseError: an input or output is unusable.
    """
    estimator = options.config.estimator
    with _input(options, console) as source:
        evaluation_options = BagEvaluationOptions(
            source.bag,
            (estimator,),
            TruthSource(source.ground_truth),
            real_time=not options.offline,
            rate=options.rate,
            report=options.output,
            config=options.config,
        )
        evaluation = run_evaluation(evaluation_options, source.name, console)
    for note in evaluation.notes:
        if note.startswith(("Warning", "No ground truth")):
            console.print(note)
    run = evaluation.runs[estimator]
    if run.record.poses:
        title = f"{estimator} on {source.name}, {run.record.mode}"
        comment = "T_odom_camera of the optical frame"
        write_tum(options.output / "trajectory.tum", run.record.trajectory, comment)
        write_metrics(options.output / "metrics.json", {estimator: run.values}, input=source.name)
        plot_run(options.output / "trajectory.png", title, run.record, run.accuracy)
        print_summary(console, title, run.values)
        written = "report.html, trajectory.png, trajectory.tum, metrics.json"
        console.print(f"Written to {options.output}: {written}", soft_wrap=True)
    return run.record.failure


@contextlib.contextmanager
def _input(options: DemoOptions, console: Console) -> Iterator[_Input]:
    """Yield the recording to play; one converted from a sequence exists as long as the context."""
    if options.bag is not None:
        yield _Input(options.bag.name, options.bag, options.ground_truth)
    elif options.sequence is not None:
        sequence = SequenceFolder.open(options.sequence)
        truth = options.sequence / "groundtruth.tum"
        with tempfile.TemporaryDirectory() as folder:
            bag = Path(folder) / "bag"
            with progress_bar(console, "making a bag of the sequence") as advance:
                convert_sequence(
                    sequence, bag, extrinsics=_EXTRINSICS, progress=lambda _, total: advance(total)
                )
            yield _Input(options.sequence.resolve().name, bag, truth if truth.exists() else None)
    else:
        # Imported late: rendering needs torch.
        from iup_pose_ros.demo_scene.demo_recording import record_demo

        with progress_bar(console, "rendering the flight, once") as advance:
            recording = record_demo(options.output / "flight", progress=lambda _, total: advance(total))
        yield _Input("a flight through the demo room", recording.bag, recording.groundtruth)
