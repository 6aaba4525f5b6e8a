"""A run with everything that is said about it. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iup_pose_ros.evaluation.runs.accuracy import Accuracy, evaluate_accuracy
from iup_pose_ros.evaluation.runs.edge_table import EdgeRow, edge_rows
from iup_pose_ros.evaluation.runs.run_record import RunRecord
from iup_pose_ros.evaluation.runs.summary import Figures, figures
from iup_pose_ros.geometry.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class EvaluatedRun:
    """A run and its errors.

    Attributes:
        record: what the run produced.
        accuracy: its errors; None without ground truth.
        values: the figures.
        edges: the keyframe edges one by one.
    """

    record: RunRecord
    accuracy: Accuracy | None
    values: Figures
    edges: Sequence[EdgeRow]

    @classmethod
    def of(cls, record: RunRecord, ground_truth: Trajectory | None) -> EvaluatedRun:
        """A run against the camera's true path ``T_world_camera``, where that is known.

        Raises:
            DataError: the ground truth tells the pose of no image of the run.
        """
        accuracy = None if ground_truth is None else evaluate_accuracy(record, ground_truth)
        return cls(record, accuracy, figures(record, accuracy), edge_rows(record, accuracy))

    @property
    def path(self) -> Trajectory:
        """The estimated path: aligned to the ground truth where that can be."""
        aligned = None if self.accuracy is None else self.accuracy.aligned
        return self.record.trajectory if aligned is None else aligned

    @property
    def stable_values(self) -> Figures:
        """The figures without those of an offline run that depend on the computer."""
        if self.record.mode != "offline":
            return self.values
        return {key: None if key.startswith("latency_") else value for key, value in self.values.items()}
