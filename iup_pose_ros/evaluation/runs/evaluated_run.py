"""A run with its evaluation results. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iup_pose_ros.evaluation.runs.accuracy import Accuracy, evaluate_accuracy
from iup_pose_ros.evaluation.runs.edge_table import EdgeRow, edge_rows
from iup_pose_ros.evaluation.runs.run_record import RunRecord
from iup_pose_ros.evaluation.runs.summary import Metrics, compute_metrics
from iup_pose_ros.geometry.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class EvaluatedRun:
    """A run with its evaluation results.

    Attributes:
        record: outputs of the run.
        accuracy: errors compared with ground truth; None without ground truth.
        values: metrics by name.
        edges: errors of each keyframe edge.
    """

    record: RunRecord
    accuracy: Accuracy | None
    values: Metrics
    edges: Sequence[EdgeRow]

    @classmethod
    def of(cls, record: RunRecord, ground_truth: Trajectory | None) -> EvaluatedRun:
        """Evaluate a run, given the true camera trajectory ``T_world_camera`` if it is known.

        Raises:
            DataError: the ground truth does not cover any image of the run.
        """
        accuracy = None if ground_truth is None else evaluate_accuracy(record, ground_truth)
        return cls(record, accuracy, compute_metrics(record, accuracy), edge_rows(record, accuracy))

    @property
    def path(self) -> Trajectory:
        """Return the estimated trajectory, after Sim(3) alignment if there is one."""
        aligned = None if self.accuracy is None else self.accuracy.aligned
        return self.record.trajectory if aligned is None else aligned

    @property
    def reproducible_values(self) -> Metrics:
        """Return the metrics; the latencies of an offline run, which depend on the computer, are None."""
        if self.record.mode != "offline":
            return self.values
        return {key: None if key.startswith("latency_") else value for key, value in self.values.items()}
