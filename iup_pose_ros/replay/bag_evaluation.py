"""Evaluation of one recording with several estimators against ground truth."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from iup_pose_ros.bags.ground_truth import (
    GroundTruth,
    ground_truth_topics,
    read_ground_truth_file,
    read_ground_truth_topic,
)
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.topics import SensorTopics
from iup_pose_ros.errors import DataError
from iup_pose_ros.estimators.base import RelativePoseEstimator
from iup_pose_ros.estimators.oom_fallback import OutOfMemoryFallback
from iup_pose_ros.estimators.registry import create_estimator
from iup_pose_ros.evaluation.reports.console import print_comparison
from iup_pose_ros.evaluation.runs.accuracy import check_quaternion_order
from iup_pose_ros.evaluation.runs.evaluated_run import EvaluatedRun
from iup_pose_ros.evaluation.runs.run_record import RunRecord
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.progress import progress_bar
from iup_pose_ros.replay.bag_report import write_report
from iup_pose_ros.replay.bag_sensors import sensor_topics
from iup_pose_ros.replay.offline import run_offline
from iup_pose_ros.replay.playback import run_in_node
from iup_pose_ros.replay.recorded import read_recorded_run


@dataclass(frozen=True)
class TruthSource:
    """Source of the ground truth: at most one of file and topic.

    Attributes:
        file: TUM or KITTI file.
        topic: topic of the recording.
        frame: frame of the poses; None: the one in the messages, or else the camera.
    """

    file: Path | None = None
    topic: str | None = None
    frame: str | None = None

    def read(self, bag: BagReader) -> GroundTruth | None:
        """Return the ground truth of a recording; None if neither file nor topic is given.

        Raises:
            DataError: file or topic is unusable.
        """
        if self.file is not None:
            return read_ground_truth_file(self.file, bag, self.frame)
        if self.topic is not None:
            return read_ground_truth_topic(self.topic, bag, self.frame)
        return None


@dataclass(frozen=True)
class BagEvaluationOptions:
    """Input and settings of an evaluation.

    Attributes:
        bag: rosbag2 recording.
        estimators: names of the estimators.
        truth: source of the ground truth.
        image_topic: required if the recording holds several cameras.
        info_topic: required if camera_info is not in the image topic's namespace.
        real_time: play the bag to the node over DDS; otherwise every image is processed without ROS.
        rate: playback rate, 1 as recorded; 0 waits for the node, so that no image is dropped.
        recorded: recording of a node's outputs on the bag, evaluated instead of running the node.
        report: folder for the report, created if needed; None: no report.
        config: settings of the node, except the estimator.
        sensors: topics of masks and of sensors beside the camera.
    """

    bag: Path
    estimators: tuple[str, ...]
    truth: TruthSource = field(default_factory=TruthSource)
    image_topic: str | None = None
    info_topic: str | None = None
    real_time: bool = False
    rate: float = 1.0
    recorded: Path | None = None
    report: Path | None = None
    config: NodeConfig = field(default_factory=NodeConfig)
    sensors: SensorTopics = field(default_factory=SensorTopics)


@dataclass(frozen=True, eq=False)
class BagEvaluation:
    """The evaluated runs on one recording.

    Attributes:
        title: name of the recording.
        notes: how it was evaluated and warnings, one sentence each.
        runs: evaluated runs by estimator.
    """

    title: str
    notes: list[str]
    runs: dict[str, EvaluatedRun]


def evaluate_bag(options: BagEvaluationOptions, console: Console) -> None:
    """Run all estimators, print their metrics side by side and write the report.

    Raises:
        NodeProcessError: the node exits unexpectedly.
        IupPoseError: an input or output is unusable.
    """
    evaluation = run_evaluation(options, options.bag.resolve().name, console)
    print_comparison(console, evaluation.title, {name: run.values for name, run in evaluation.runs.items()})
    for note in evaluation.notes:
        console.print(note)
    if options.report is not None:
        console.print(f"Report: {options.report / 'report.html'}")


def run_evaluation(options: BagEvaluationOptions, title: str, console: Console) -> BagEvaluation:
    """Run all estimators and write the report; print only the progress.

    Args:
        options: input and settings.
        title: name of the recording in the report.
        console: output for the progress bar.

    Raises:
        NodeProcessError: the node exits unexpectedly.
        IupPoseError: an input or output is unusable.
    """
    # Create all estimators first, so that a wrong name or weights file is reported before any run.
    names = () if options.recorded is not None else options.estimators
    config = options.config
    estimators = {
        name: OutOfMemoryFallback(name, config.network, config.on_out_of_memory, create_estimator)
        for name in names
    }
    with BagReader(options.bag, options.image_topic, options.info_topic, config, options.sensors) as bag:
        truth = options.truth.read(bag)
        if options.report is not None:
            try:
                options.report.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                message = f"report folder {options.report} cannot be created: {error.strerror}"
                raise DataError(message) from error
        if options.recorded is not None:
            record = read_recorded_run(options.recorded, bag)
            records = {record.estimator: record}
        else:
            records = {name: _run(options, bag, each, console) for name, each in estimators.items()}
        if truth is not None and truth.reordered is not None:
            check_quaternion_order(list(records.values()), truth.trajectory, truth.reordered)
        trajectory = None if truth is None else truth.trajectory
        runs = {name: EvaluatedRun.of(record, trajectory) for name, record in records.items()}
        notes = _notes(options, bag, truth)
        warnings = [*bag.warnings, *(note for record in records.values() for note in record.notes)]
        notes += [f"Warning: {warning}." for warning in dict.fromkeys(warnings)]
        if options.report is not None:
            write_report(options.report, title, notes, bag, runs, trajectory)
        return BagEvaluation(title, notes, runs)


def _run(
    options: BagEvaluationOptions, bag: BagReader, estimator: RelativePoseEstimator, console: Console
) -> RunRecord:
    config, topics = options.config, sensor_topics(bag, options.config, (options.truth.topic,))
    with progress_bar(console, estimator.name) as advance:

        def progress() -> None:
            advance(bag.image_count)

        if not options.real_time:
            return run_offline(bag, estimator, progress, config, topics)
        with tempfile.TemporaryDirectory() as scratch:
            log = (options.report or Path(scratch)) / f"{estimator.name}.log"
            return run_in_node(
                bag, estimator.name, progress, rate=options.rate, log=log, config=config, topics=topics
            )


def _notes(options: BagEvaluationOptions, bag: BagReader, truth: GroundTruth | None) -> list[str]:
    """Return sentences on images, mode of the run and ground truth."""
    how = "every image processed without ROS"
    if options.recorded is not None:
        how = f"the node's outputs as recorded in {options.recorded.name}"
    elif options.real_time:
        how = f"played to the node at {options.rate:g} times the recorded rate"
    notes = [f"{bag.image_count} images of {bag.camera.image} in {bag.duration:.1f} s, {how}."]
    if truth is None:
        topics = ", ".join(ground_truth_topics(bag)) or "none"
        notes.append(f"No ground truth: no accuracy metrics. Topics that could be ground truth: {topics}.")
    elif truth.note:
        notes.append(f"Warning: {truth.note}.")
    return notes
