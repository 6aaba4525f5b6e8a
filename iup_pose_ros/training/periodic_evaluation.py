"""Evaluation of the averaged weights on real pairs during training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from iup_pose_ros.datasets.pairs_folder import load_pairs_folder
from iup_pose_ros.errors import DataError
from iup_pose_ros.estimators.network.iup_pose_estimator import IUPPoseEstimator
from iup_pose_ros.evaluation.pairs.evaluate import evaluate_on
from iup_pose_ros.evaluation.pairs.report import PairStatistics
from iup_pose_ros.training.run_config import EvaluationConfig


class PeriodicEvaluation:
    """Evaluates a network on the same pairs each time.

    Args:
        config: which pairs.
        output: folder for ``evaluation_STEP.json`` (the documents of ``evaluation.pairs.report``).
        device: where the network runs.

    Raises:
        DataError: a folder lacks pairs.csv, columns or images, or two folders have the same name.
    """

    def __init__(self, config: EvaluationConfig, output: Path, device: str) -> None:
        self._config, self._output, self._device = config, output, device
        self._sets = {folder.resolve().name: load_pairs_folder(folder) for folder in config.folders}
        if len(self._sets) < len(config.folders):
            raise DataError("two folders of evaluation.folders have the same name")

    def run(self, network: nn.Module, step: int) -> Iterator[dict[str, Any]]:
        """A row of the evaluation's table for every set, then for all pooled."""
        if not self._sets:
            return
        model: Any = network
        name = IUPPoseEstimator.name
        estimator = IUPPoseEstimator(model, device=self._device)
        report = evaluate_on(self._sets, {name: estimator}, self._config.max_pairs)
        report.write(self._output / f"evaluation_{step:09d}.json")
        for set_name, figures in {**report.sets(name), "pooled": report.pooled(name)}.items():
            yield {"step": step, "set": set_name, **_row(figures)}


def _row(figures: PairStatistics) -> dict[str, Any]:
    return {
        "pairs": figures.pairs,
        "rotation_deg": figures.median_rotation_deg,
        "direction_deg": figures.median_direction_deg,
        **{f"auc_{threshold}": figures.auc_unfolded[str(threshold)] for threshold in (5, 10, 20)},
        "rotation_in_1_sigma": figures.coverage["rotation"]["1"],
        "direction_in_1_sigma": figures.coverage["direction"]["1"],
    }
