"""Figures of estimators on sets of image pairs: JSON of a fixed shape and a table.

The shape: {"estimators": {NAME: {"pooled": STATS, "sets": {SET: STATS}}}} with STATS = {"pairs", "failures",
"median_rotation_deg", "median_direction_deg", "auc_unfolded": {"5", "10", "20"}, "auc_folded": {...},
"ms_per_pair_p50", "coverage": {"rotation": {"1", "2", "3"}, "direction": {...}}, "nees": {"rotation",
"direction"}}. AUCs are percent, coverages shares of the pairs that did not fail, nees means (ideally 3 for
rotation and 2 for direction). A failed pair is an infinite error; a figure that is infinite or does not exist
is null. "pooled" takes all pairs of all sets together, so that every pair counts once; the mean over the
sets, in which every set counts once, can be taken of "sets" and stands in the table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from iup_pose_ros.evaluation.json_document import json_value, write_json
from iup_pose_ros.evaluation.metrics.consistency import (
    Consistency,
    NormalErrors,
    direction_errors,
    rotation_errors,
)
from iup_pose_ros.evaluation.metrics.pair_errors import (
    AUC_THRESHOLDS,
    area_under_recall,
    folded_deg,
    pose_errors_deg,
)
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.geometry.so3 import Array

_ACCURACY = ("pairs", "failed", "R deg", "t deg", "AUC@5/10/20", "folded", "ms")
_CALIBRATION = ("R in 1/2/3 sigma", "t in 1/2/3 sigma", "NEES R", "NEES t")
_MISSING = "-"


@dataclass(frozen=True, eq=False)
class PairResult:
    """One estimator on one pair.

    Attributes:
        reference: true ``T_prev_curr``; image 0 is the previous one.
        milliseconds: time that the estimator took.
        rotation_deg: infinite for a failure.
        direction_deg: unfolded; infinite for a failure, NaN where the truth does not move.
        estimate: estimated ``T_prev_curr``; None for a failure.
        failure: the reason, or empty.
    """

    reference: Pose
    milliseconds: float
    rotation_deg: float
    direction_deg: float
    estimate: PoseWithCovariance | None
    failure: str = ""

    @classmethod
    def failed(cls, reference: Pose, milliseconds: float, reason: str) -> PairResult:
        """The result of an estimator that gave up."""
        return cls(reference, milliseconds, math.inf, math.inf, None, reason)


@dataclass(frozen=True)
class PairStatistics:
    """Figures of one estimator on some pairs (module docstring)."""

    pairs: int
    failures: int
    median_rotation_deg: float
    median_direction_deg: float
    auc_unfolded: dict[str, float]
    auc_folded: dict[str, float]
    ms_per_pair_p50: float
    coverage: dict[str, dict[str, float]]
    nees: dict[str, float]

    @classmethod
    def of(cls, results: Sequence[PairResult]) -> PairStatistics:
        """The figures of results, of which there is at least one."""
        rotation = np.array([result.rotation_deg for result in results])
        direction = np.array([result.direction_deg for result in results])
        blocks = consistencies(results)
        return cls(
            pairs=len(results),
            failures=sum(result.estimate is None for result in results),
            median_rotation_deg=float(np.median(rotation)),
            median_direction_deg=_median(direction[~np.isnan(direction)]),
            auc_unfolded=_auc(pose_errors_deg(rotation, direction)),
            auc_folded=_auc(pose_errors_deg(rotation, folded_deg(direction))),
            ms_per_pair_p50=float(np.median([result.milliseconds for result in results])),
            coverage={
                name: {str(k): share for k, share in block.coverage.items()} for name, block in blocks.items()
            },
            nees={name: block.mean for name, block in blocks.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """STATS of the module docstring."""
        return {key: json_value(value) for key, value in vars(self).items()}


@dataclass(frozen=True, eq=False)
class PairsReport:
    """Results of estimators on sets: ``results[estimator][set]``, the same pairs for every estimator."""

    results: Mapping[str, Mapping[str, Sequence[PairResult]]]

    def sets(self, estimator: str) -> dict[str, PairStatistics]:
        """Figures of every set that has pairs."""
        return {name: PairStatistics.of(found) for name, found in self.results[estimator].items() if found}

    def pooled(self, estimator: str) -> PairStatistics:
        """Figures of all pairs of all sets together."""
        return PairStatistics.of([result for found in self.results[estimator].values() for result in found])

    def mean_over_sets(self, estimator: str) -> dict[str, float]:
        """AUC unfolded, percent, by threshold: the mean of the sets' AUCs."""
        return _mean_auc([figures.auc_unfolded for figures in self.sets(estimator).values()])

    def to_json(self) -> dict[str, Any]:
        """The document of the module docstring."""
        return {
            "estimators": {
                name: {
                    "pooled": self.pooled(name).to_json(),
                    "sets": {set_name: figures.to_json() for set_name, figures in self.sets(name).items()},
                }
                for name in self.results
            }
        }

    def write(self, path: Path) -> None:
        """Write the JSON document.

        Raises:
            DataError: the file cannot be written.
        """
        write_json(path, self.to_json())

    def print(self, console: Console) -> None:
        """Print accuracy and calibration, all estimators side by side, set by set and pooled."""
        sets = {name: self.sets(name) for name in self.results}
        rows = [(set_name, name) for set_name in next(iter(sets.values()), {}) for name in sets]
        accuracy = _table("Accuracy: medians, AUC in percent, time per pair", _ACCURACY)
        calibration = _table("Calibration: ideal 0.68/0.95/1.00, NEES 3 and 2", _CALIBRATION)
        for set_name, name in rows:
            last = name == rows[-1][1]
            accuracy.add_row(set_name, name, *_accuracy_cells(sets[name][set_name]), end_section=last)
            calibration.add_row(set_name, name, *_calibration_cells(sets[name][set_name]), end_section=last)
        for name in sets:
            last = name == rows[-1][1]
            accuracy.add_row("all pairs", name, *_accuracy_cells(self.pooled(name)), end_section=last)
            calibration.add_row("all pairs", name, *_calibration_cells(self.pooled(name)))
        for name, figures in sets.items():
            folded = _joined(_mean_auc([found.auc_folded for found in figures.values()]))
            accuracy.add_row("mean over sets", name, *[""] * 4, _joined(self.mean_over_sets(name)), folded)
        console.print(accuracy, calibration)


def consistencies(results: Sequence[PairResult]) -> dict[str, Consistency]:
    """Normalised errors of the results that did not fail: ``rotation`` and ``direction``."""
    return {name: errors.consistency() for name, errors in normal_errors(results).items()}


def normal_errors(results: Sequence[PairResult]) -> dict[str, NormalErrors]:
    """Errors of the results that did not fail, with their covariances: ``rotation`` and ``direction``."""
    done = [(found.estimate, found.reference) for found in results if found.estimate is not None]
    estimates, references = [estimate for estimate, _ in done], [reference for _, reference in done]
    return {
        "rotation": rotation_errors(estimates, references),
        "direction": direction_errors(estimates, references),
    }


def _auc(errors: Array) -> dict[str, float]:
    areas = area_under_recall(errors)
    return {str(threshold): area for threshold, area in zip(AUC_THRESHOLDS, areas, strict=True)}


def _mean_auc(aucs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {str(key): float(np.mean([auc[str(key)] for auc in aucs])) for key in AUC_THRESHOLDS}


def _median(values: Array) -> float:
    return float(np.median(values)) if len(values) else math.nan


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for column in ("set", "estimator"):
        table.add_column(column)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _accuracy_cells(figures: PairStatistics) -> list[str]:
    return [
        str(figures.pairs),
        str(figures.failures),
        _number(figures.median_rotation_deg, 2),
        _number(figures.median_direction_deg, 2),
        _joined(figures.auc_unfolded),
        _joined(figures.auc_folded),
        _number(figures.ms_per_pair_p50, 0),
    ]


def _calibration_cells(figures: PairStatistics) -> list[str]:
    return [
        _joined(figures.coverage["rotation"], 2),
        _joined(figures.coverage["direction"], 2),
        _number(figures.nees["rotation"], 1),
        _number(figures.nees["direction"], 1),
    ]


def _joined(values: Mapping[str, float], digits: int = 1) -> str:
    return "/".join(_number(value, digits) for value in values.values())


def _number(value: float, digits: int) -> str:
    return _MISSING if math.isnan(value) else f"{value:.{digits}f}"
