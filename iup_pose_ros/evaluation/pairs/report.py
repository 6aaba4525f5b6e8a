"""Metrics of estimators on sets of image pairs: a JSON document and console tables.

Format: {"estimators": {NAME: {"pooled": STATS, "mean": STATS, "splits": {SPLIT: STATS}, "sets": {SET: STATS},
"inlier_reliability": [BIN]}}}. "pooled" weights all pairs equally, "mean" all sets equally; "splits" is the
mean over the sets of each split.

STATS = {"pairs", "failures", "median_rotation_deg", "median_direction_deg", "auc_unfolded": {"5", "10",
"20"}, "auc_folded": {...}, "ms_per_pair_p50", "coverage": {"rotation": {"1", "2", "3"}, "direction": {...}},
"nees": {"rotation", "direction"}, "confident_outlier_share", "mean_inlier_probability", "inlier_share"}. AUCs
are in percent, "nees" is the mean (ideal: 3 for rotation, 2 for direction). A failed pair has an infinite
error; it does not count in coverages, shares and the mean probability. An inlier errs by less than 10 degrees
in rotation and direction, a confident outlier by more in one of them, and there by more than 3 sigma. A
metric that is infinite or undefined is null. BIN has the attributes of ``ReliabilityBin``, for all pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from iup_pose_ros.estimators.pose_evidence import INLIER_ERROR_DEG
from iup_pose_ros.evaluation.json_document import json_value, write_json
from iup_pose_ros.evaluation.metrics.consistency import (
    Consistency,
    NormalErrors,
    direction_errors,
    rotation_errors,
)
from iup_pose_ros.evaluation.metrics.inlier_reliability import ReliabilityBin, inlier_reliability
from iup_pose_ros.evaluation.metrics.pair_errors import (
    AUC_THRESHOLDS,
    area_under_recall,
    folded_deg,
    pose_errors_deg,
)
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.geometry.so3 import Array

# Columns of the tables, and their text for a set.
_ACCURACY: Mapping[str, Callable[[PairStatistics], str]] = {
    "pairs": lambda found: str(found.pairs),
    "failed": lambda found: str(found.failures),
    "R deg": lambda found: number(found.median_rotation_deg, 2),
    "t deg": lambda found: number(found.median_direction_deg, 2),
    "AUC@5/10/20": lambda found: joined(found.auc_unfolded),
    "folded": lambda found: joined(found.auc_folded),
    "ms": lambda found: number(found.ms_per_pair_p50, 0),
}
_CONSISTENCY: Mapping[str, Callable[[PairStatistics], str]] = {
    "R in 1/2/3 sigma": lambda found: joined(found.coverage["rotation"], 2),
    "t in 1/2/3 sigma": lambda found: joined(found.coverage["direction"], 2),
    "NEES R": lambda found: number(found.nees["rotation"], 1),
    "NEES t": lambda found: number(found.nees["direction"], 1),
    "outliers %": lambda found: number(100.0 * found.confident_outlier_share, 1),
}
_INLIERS = ("probability", "poses", "mean probability", "inliers")
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
        inlier_probability: reported probability that both errors are below ``INLIER_ERROR_DEG``; NaN where
            the estimator does not report it.
    """

    reference: Pose
    milliseconds: float
    rotation_deg: float
    direction_deg: float
    estimate: PoseWithCovariance | None
    failure: str = ""
    inlier_probability: float = math.nan

    @property
    def is_inlier(self) -> bool:
        """Whether rotation and direction err by less than ``INLIER_ERROR_DEG``."""
        return float(np.fmax(self.rotation_deg, self.direction_deg)) < INLIER_ERROR_DEG

    @property
    def is_confident_outlier(self) -> bool:
        """Whether rotation or direction err by more than ``INLIER_ERROR_DEG``, and there beyond 3 sigma."""
        if self.estimate is None:
            return False
        errors = {"rotation": self.rotation_deg, "direction": self.direction_deg}
        return any(
            errors[name] > INLIER_ERROR_DEG and consistency.coverage[3] == 0.0
            for name, consistency in consistencies([self]).items()
        )

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
    confident_outlier_share: float
    mean_inlier_probability: float
    inlier_share: float

    @classmethod
    def of(cls, results: Sequence[PairResult]) -> PairStatistics:
        """Compute the metrics of at least one result."""
        rotation = np.array([result.rotation_deg for result in results])
        direction = np.array([result.direction_deg for result in results])
        known = direction[~np.isnan(direction)]
        blocks = consistencies(results)
        estimated = [result for result in results if result.estimate is not None]
        return cls(
            pairs=len(results),
            failures=len(results) - len(estimated),
            median_rotation_deg=float(np.median(rotation)),
            median_direction_deg=float(np.median(known)) if len(known) else math.nan,
            auc_unfolded=_auc(pose_errors_deg(rotation, direction)),
            auc_folded=_auc(pose_errors_deg(rotation, folded_deg(direction))),
            ms_per_pair_p50=float(np.median([result.milliseconds for result in results])),
            coverage={
                name: {str(k): share for k, share in block.coverage.items()} for name, block in blocks.items()
            },
            nees={name: block.mean for name, block in blocks.items()},
            confident_outlier_share=_mean([result.is_confident_outlier for result in estimated]),
            mean_inlier_probability=_mean([result.inlier_probability for result in estimated]),
            inlier_share=_mean([result.is_inlier for result in estimated]),
        )

    @classmethod
    def mean(cls, statistics: Sequence[PairStatistics]) -> PairStatistics:
        """Average the metrics of at least one set, without undefined values; numbers of pairs are summed."""
        columns = {each.name: [getattr(item, each.name) for item in statistics] for each in fields(cls)}
        counts = {name: sum(columns.pop(name)) for name in ("pairs", "failures")}
        return cls(**counts, **{name: _mean(values) for name, values in columns.items()})

    def to_json(self) -> dict[str, Any]:
        """Return STATS of the module docstring."""
        return {key: json_value(value) for key, value in vars(self).items()}


@dataclass(frozen=True, eq=False)
class PairsReport:
    """Results of estimators on the same pairs.

    Attributes:
        results: ``results[estimator][set]``.
        splits: names of the sets of each split, over which means are reported.
    """

    results: Mapping[str, Mapping[str, Sequence[PairResult]]]
    splits: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def sets(self, estimator: str) -> dict[str, PairStatistics]:
        """Return the metrics of each set that has pairs."""
        return {name: PairStatistics.of(found) for name, found in self.results[estimator].items() if found}

    def pooled(self, estimator: str) -> PairStatistics:
        """Return the metrics of the pairs of all sets."""
        return PairStatistics.of(self.all_results(estimator))

    def mean_over_sets(self, estimator: str) -> PairStatistics:
        """Return the mean of the metrics over all sets."""
        return PairStatistics.mean(list(self.sets(estimator).values()))

    def mean_over_splits(self, estimator: str) -> dict[str, PairStatistics]:
        """Return the mean of the metrics over the sets of each split."""
        sets = self.sets(estimator)
        return {
            split: PairStatistics.mean([sets[name] for name in names if name in sets])
            for split, names in self.splits.items()
        }

    def inlier_reliability(self, estimator: str) -> list[ReliabilityBin]:
        """Return the reliability of the inlier probability on the pairs of all sets that did not fail."""
        results = [result for result in self.all_results(estimator) if result.estimate is not None]
        probabilities = np.array([result.inlier_probability for result in results])
        return inlier_reliability(probabilities, np.array([result.is_inlier for result in results], np.bool_))

    def all_results(self, estimator: str) -> list[PairResult]:
        """Return the results on the pairs of all sets."""
        return [result for results in self.results[estimator].values() for result in results]

    def to_json(self) -> dict[str, Any]:
        """Return the document of the module docstring."""
        estimators = {
            name: {
                "pooled": self.pooled(name).to_json(),
                "mean": self.mean_over_sets(name).to_json(),
                "splits": {split: mean.to_json() for split, mean in self.mean_over_splits(name).items()},
                "sets": {set_name: statistics.to_json() for set_name, statistics in self.sets(name).items()},
                "inlier_reliability": [vars(found) for found in self.inlier_reliability(name)],
            }
            for name in self.results
        }
        return {"estimators": estimators}

    def write(self, path: Path) -> None:
        """Write the JSON document.

        Raises:
            DataError: the file cannot be written.
        """
        write_json(path, self.to_json())

    def print(self, console: Console) -> None:
        """Print accuracy, consistency and inlier probability of all estimators: sets, pairs pooled, means."""
        accuracy = metrics_table("Accuracy: medians, AUC in percent, time per pair", ("set", *_ACCURACY))
        consistency = metrics_table(
            "Consistency: ideal 0.68/0.95/1.00, NEES 3 and 2; outliers err by more than 10 deg and 3 sigma",
            ("set", *_CONSISTENCY),
        )
        statistics: dict[str, dict[str, PairStatistics]] = {}
        for name in self.results:
            splits = {f"mean over {split}": mean for split, mean in self.mean_over_splits(name).items()}
            pooled, mean = self.pooled(name), self.mean_over_sets(name)
            statistics[name] = {
                **self.sets(name),
                "all pairs": pooled,
                **splits,
                "mean over sets": mean,
            }
        for label in next(iter(statistics.values()), {}):
            for name, by_label in statistics.items():
                last = name == next(reversed(statistics))
                found = by_label[label]
                for rows, columns in ((accuracy, _ACCURACY), (consistency, _CONSISTENCY)):
                    rows.add_row(label, name, *(text(found) for text in columns.values()), end_section=last)
        console.print(accuracy, consistency)
        inliers = metrics_table(
            "Inlier probability: predicted, and observed share of errors below 10 deg", _INLIERS
        )
        for name in self.results:
            for each in self.inlier_reliability(name):
                cells = str(each.poses), number(each.mean_probability, 3), number(each.inlier_share, 3)
                inliers.add_row(f"{each.lower:.2f} to {each.upper:.2f}", name, *cells)
        if inliers.row_count:
            console.print(inliers)


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


def _mean(values: Sequence[Any]) -> Any:
    """Average numbers without NaN, or mappings of numbers key by key; NaN without values."""
    if values and isinstance(values[0], Mapping):
        return {key: _mean([value[key] for value in values]) for key in values[0]}
    known = [float(value) for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def metrics_table(title: str, columns: Sequence[str]) -> Table:
    """Return an empty table; a column of estimators follows the first one, the others are numbers."""
    found = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for column in (columns[0], "estimator"):
        found.add_column(column)
    for column in columns[1:]:
        found.add_column(column, justify="right")
    return found


def joined(values: Mapping[str, float], digits: int = 1) -> str:
    """Return numbers separated by slashes."""
    return "/".join(number(value, digits) for value in values.values())


def number(value: float, digits: int) -> str:
    """Return a number with so many decimals; a dash for NaN."""
    return _MISSING if math.isnan(value) else f"{value:.{digits}f}"
