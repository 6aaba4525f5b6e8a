"""Evaluation of the averaged weights on real pairs during training, with early stopping."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from iup_pose_ros.datasets.image_pair import DataSetPair
from iup_pose_ros.datasets.pairs_folder import load_pairs_folder
from iup_pose_ros.errors import DataError
from iup_pose_ros.estimators.network.iup_pose_estimator import IUPPoseEstimator
from iup_pose_ros.evaluation.pairs.evaluate import evaluate_on
from iup_pose_ros.training.run_config import EvaluationConfig

MEAN = "mean"
"""Value of the column ``set`` for the mean over the sets of a split."""
ALL_SPLITS = "all"
"""Value of the column ``split`` for the mean over the splits."""
_AUC = ("auc_5", "auc_10", "auc_20")


class PeriodicEvaluation:
    """Repeated evaluation of a network on the same pairs.

    Args:
        config: pairs and interval of the evaluation.
        output: folder of ``evaluation_STEP.json`` (documents of ``evaluation.pairs.report``).
        device: device of the network.

    Raises:
        DataError: a folder has no set, a set lacks columns or images, or two sets have the same name.
    """

    def __init__(self, config: EvaluationConfig, output: Path, device: str) -> None:
        self._config, self._output, self._device = config, output, device
        self._sets: dict[str, list[DataSetPair]] = {}
        self._splits: dict[str, list[str]] = defaultdict(list)
        for given in config.folders:
            files = sorted([*given.glob("pairs.csv"), *given.glob("*/pairs.csv")])
            if not files:
                raise DataError(f"{given} and its subfolders have no pairs.csv")
            for folder in [file.parent.resolve() for file in files]:
                if folder.name in self._sets:
                    raise DataError(f"two sets of evaluation.folders are named {folder.name}")
                self._sets[folder.name] = load_pairs_folder(folder)
                self._splits[folder.parent.name].append(folder.name)

    def run(self, network: nn.Module, step: int, pairs_seen: int) -> list[dict[str, Any]]:
        """Evaluate a network; return the table rows of all sets, of all splits and of their mean."""
        if not self._sets:
            return []
        model: Any = network
        name = IUPPoseEstimator.name
        estimator = IUPPoseEstimator(model, device=self._device)
        report = evaluate_on(self._sets, {name: estimator}, self._config.max_pairs)
        report.write(self._output / f"evaluation_{step:09d}.json")
        figures: dict[str, dict[str, Any]] = {
            set_name: {
                "pairs": found.pairs,
                "rotation_deg": found.median_rotation_deg,
                "direction_deg": found.median_direction_deg,
                **{f"auc_{threshold}": found.auc_unfolded[str(threshold)] for threshold in (5, 10, 20)},
                "rotation_in_1_sigma": found.coverage["rotation"]["1"],
                "direction_in_1_sigma": found.coverage["direction"]["1"],
            }
            for set_name, found in report.sets(name).items()
        }
        rows: list[dict[str, Any]] = []
        for split, names in self._splits.items():
            of_sets = [{"split": split, "set": set_name, **figures[set_name]} for set_name in names]
            rows += [*of_sets, {"split": split, "set": MEAN, **_mean(of_sets)}]
        means = [row for row in rows if row["set"] == MEAN]
        rows.append({"split": ALL_SPLITS, "set": MEAN, **_mean(means)})
        return [{"step": step, "pairs_seen": pairs_seen, **row} for row in rows]


class EvaluationScores:
    """Scores of the evaluations of a run, for the best weights and early stopping.

    Args:
        rows: rows of the evaluation table so far; values may be text.
        patience: number of evaluations without improvement until a run has stalled; None: never.
    """

    def __init__(self, rows: Iterable[dict[str, Any]], patience: int | None) -> None:
        self._patience = patience
        self._scores = [_score(row) for row in rows if row["split"] == ALL_SPLITS]

    def add(self, rows: Sequence[dict[str, Any]]) -> bool:
        """Add the rows of an evaluation; return whether its score is the best so far."""
        self._scores += [_score(row) for row in rows if row["split"] == ALL_SPLITS]
        return bool(self._scores) and self._since_best() == 0

    @property
    def stalled(self) -> bool:
        """Whether the last ``patience`` evaluations brought no improvement."""
        return self._patience is not None and bool(self._scores) and self._since_best() >= self._patience

    def _since_best(self) -> int:
        """Return the number of evaluations since the first one of maximum score."""
        return len(self._scores) - 1 - int(np.argmax(self._scores))


def _score(row: dict[str, Any]) -> float:
    """Return the mean of the three AUCs, percent."""
    return float(np.mean([float(row[name]) for name in _AUC]))


def _mean(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of rows per column, and the sum of their pairs."""
    names = [name for name in rows[0] if name not in ("split", "set", "pairs")]
    means = {name: float(np.nanmean([row[name] for row in rows])) for name in names}
    return {"pairs": sum(row["pairs"] for row in rows), **means}
