"""Metrics of estimators on sets of image pairs: a JSON document and console tables.

Format: {"estimators": {NAME: {"pooled": STATS, "sets": {SET: STATS}}}} with STATS = {"pairs", "failures",
"median_rotation_deg", "median_direction_deg", "auc_unfolded": {"5", "10", "20"}, "auc_folded": {...},
"ms_per_pair_p50", "coverage": {"rotation": {"1", "2", "3"}, "direction": {...}}, "nees": {"rotation",
"direction"}}. AUCs are in percent, coverages are fractions of the pairs that did not fail, "nees" is the mean
(ideal: 3 for rotation, 2 for direction). A failed pair has an infinite error; a metric that is infinite or
undefined is null. "pooled" weights all pairs equally; the mean over sets in the console table weights all
sets equally.
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
_CONSISTENCY = ("R in 1/2/3 sigma", "t in 1/2/3 sigma", "NEES R", "NEES t")
_MISSING = "-"


@dataclass(frozen=True, eq=False)
class PairResult:
    """Result of one estimator on one pair.

    Attributes:
        reference: true ``T_prev_curr``; image 0 is the previous one.
        milliseconds: run time of the estimator.
        rotation_deg: rotation error; infinite for a failed pair.
        direction_deg: unfolded direction error; infinite for a failed pair, NaN if the true translation is 0.
        estimate: estimated ``T_prev_curr``; None for a failed pair.
        failure: reason of the failure, or empty.
    """

    reference: Pose
    milliseconds: float
    rotation_deg: float
    direction_deg: float
    estimate: PoseWithCovariance | None
    failure: str = ""

    @classmethod
    def failed(cls, reference: Pose, milliseconds: float, reason: str) -> PairResult:
        """Return the result of a pair on which the estimator failed."""
        return cls(reference, milliseconds, math.inf, math.inf, None, reason)


@dataclass(frozen=True)
class PairStatistics:
    """Metrics of one estimator on a list of pairs: STATS of the module docstring."""

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
        """Compute the metrics of at least one result."""
        rotation = np.array([result.rotation_deg for result in results])
        direction = np.array([result.direction_deg for result in results])
        known = direction[~np.isnan(direction)]
        blocks = consistencies(results)
        return cls(
            pairs=len(results),
            failures=sum(result.estimate is None for result in results),
            median_rotation_deg=float(np.median(rotation)),
            median_direction_deg=float(np.median(known)) if len(known) else math.nan,
            auc_unfolded=_auc(pose_errors_deg(rotation, direction)),
            auc_folded=_auc(pose_errors_deg(rotation, folded_deg(direction))),
            ms_per_pair_p50=float(np.median([result.milliseconds for result in results])),
            coverage={
                name: {str(k): share for k, share in block.coverage.items()} for name, block in blocks.items()
            },
            nees={name: block.mean for name, block in blocks.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """Return STATS of the module docstring."""
        return {key: json_value(value) for key, value in vars(self).items()}


@dataclass(frozen=True, eq=False)
class PairsReport:
    """Results of estimators on the same pairs: ``results[estimator][set]``."""

    results: Mapping[str, Mapping[str, Sequence[PairResult]]]

    def sets(self, estimator: str) -> dict[str, PairStatistics]:
        """Return the metrics of each set that has pairs."""
        return {name: PairStatistics.of(found) for name, found in self.results[estimator].items() if found}

    def pooled(self, estimator: str) -> PairStatistics:
        """Return the metrics of the pairs of all sets."""
        return PairStatistics.of([result for found in self.results[estimator].values() for result in found])

    def mean_over_sets(self, estimator: str) -> dict[str, float]:
        """Return the unfolded AUC by threshold, percent, averaged over the sets."""
        return _mean_auc([statistics.auc_unfolded for statistics in self.sets(estimator).values()])

    def to_json(self) -> dict[str, Any]:
        """Return the document of the module docstring."""
        estimators = {}
        for name in self.results:
            sets = {set_name: statistics.to_json() for set_name, statistics in self.sets(name).items()}
            estimators[name] = {"pooled": self.pooled(name).to_json(), "sets": sets}
        return {"estimators": estimators}

    def write(self, path: Path) -> None:
        """Write the JSON document.

        Raises:
            DataError: the file cannot be written.
        """
        write_json(path, self.to_json())

    def print(self, console: Console) -> None:
        """Print accuracy and consistency of all estimators, per set and pooled."""
        sets = {name: self.sets(name) for name in self.results}
        rows = [(set_name, name) for set_name in next(iter(sets.values()), {}) for name in sets]
        accuracy = _table("Accuracy: medians, AUC in percent, time per pair", _ACCURACY)
        consistency = _table("Consistency: ideal coverage 0.68/0.95/1.00, ideal NEES 3 and 2", _CONSISTENCY)
        for set_name, name in rows:
            last = name == rows[-1][1]
            accuracy.add_row(set_name, name, *_accuracy_cells(sets[name][set_name]), end_section=last)
            consistency.add_row(set_name, name, *_consistency_cells(sets[name][set_name]), end_section=last)
        for name in sets:
            last = name == rows[-1][1]
            accuracy.add_row("all pairs", name, *_accuracy_cells(self.pooled(name)), end_section=last)
            consistency.add_row("all pairs", name, *_consistency_cells(self.pooled(name)))
        for name, statistics in sets.items():
            folded = _joined(_mean_auc([each.auc_folded for each in statistics.values()]))
            accuracy.add_row("mean over sets", name, *[""] * 4, _joined(self.mean_over_sets(name)), folded)
        console.print(accuracy, consistency)


def consistencies(results: Sequence[PairResult]) -> dict[str, Consistency]:
    """Return the consistency (``rotation``, ``direction``) of the results that did not fail."""
    return {name: errors.consistency() for name, errors in normal_errors(results).items()}


def normal_errors(results: Sequence[PairResult]) -> dict[str, NormalErrors]:
    """Return the errors (``rotation``, ``direction``) and their covariances of results that did not fail."""
    estimates = [result.estimate for result in results if result.estimate is not None]
    references = [result.reference for result in results if result.estimate is not None]
    return {
        "rotation": rotation_errors(estimates, references),
        "direction": direction_errors(estimates, references),
    }


def _auc(errors: Array) -> dict[str, float]:
    areas = area_under_recall(errors)
    return {str(threshold): area for threshold, area in zip(AUC_THRESHOLDS, areas, strict=True)}


def _mean_auc(aucs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {str(key): float(np.mean([auc[str(key)] for auc in aucs])) for key in AUC_THRESHOLDS}


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for column in ("set", "estimator"):
        table.add_column(column)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _accuracy_cells(statistics: PairStatistics) -> list[str]:
    return [
        str(statistics.pairs),
        str(statistics.failures),
        _number(statistics.median_rotation_deg, 2),
        _number(statistics.median_direction_deg, 2),
        _joined(statistics.auc_unfolded),
        _joined(statistics.auc_folded),
        _number(statistics.ms_per_pair_p50, 0),
    ]


def _consistency_cells(statistics: PairStatistics) -> list[str]:
    return [
        _joined(statistics.coverage["rotation"], 2),
        _joined(statistics.coverage["direction"], 2),
        _number(statistics.nees["rotation"], 1),
        _number(statistics.nees["direction"], 1),
    ]


def _joined(values: Mapping[str, float], digits: int = 1) -> str:
    return "/".join(_number(value, digits) for value in values.values())


def _number(value: float, digits: int) -> str:
    return _MISSING if math.isnan(value) else f"{value:.{digits}f}"
