"""Evaluation of estimators on degraded image pairs: a JSON document and a console table.

Format: {"degradations": {DEGRADATION: {ESTIMATOR: STATS}}}, STATS as of ``report``, of the pairs of all sets,
and "rank_correlation": {"rotation", "direction"}, Spearman's, of sigma and error. "all" are the pairs of all
degradations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from iup_pose_ros.datasets.image_pair import DataSetPair
from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.estimators.base import RelativePoseEstimator
from iup_pose_ros.evaluation.json_document import json_value, write_json
from iup_pose_ros.evaluation.pairs.degradations import DEGRADATIONS, degraded
from iup_pose_ros.evaluation.pairs.evaluate import evaluate_on
from iup_pose_ros.evaluation.pairs.report import (
    PairResult,
    PairStatistics,
    joined,
    metrics_table,
    normal_errors,
    number,
)

_COLUMNS = (
    "degradation",
    "failed",
    "AUC@5/10/20",
    "in 3 sigma",
    "rank corr.",
    "p inlier",
    "inliers",
)


@dataclass(frozen=True, eq=False)
class StressReport:
    """Results of estimators on degraded pairs: ``results[degradation][estimator]``."""

    results: Mapping[str, Mapping[str, Sequence[PairResult]]]

    def to_json(self) -> dict[str, Any]:
        """Return the document of the module docstring."""
        return {
            "degradations": {
                degradation: {
                    name: {
                        **PairStatistics.of(found).to_json(),
                        "rank_correlation": json_value(rank_correlations(found)),
                    }
                    for name, found in by_estimator.items()
                }
                for degradation, by_estimator in self._with_all().items()
            }
        }

    def write(self, path: Path) -> None:
        """Write the JSON document.

        Raises:
            DataError: the file cannot be written.
        """
        write_json(path, self.to_json())

    def print(self, console: Console) -> None:
        """Print a row per degradation and estimator."""
        title = (
            "Degraded pairs. Rotation, direction: errors in 3 sigma, rank correlation of sigma and error.\n"
            "Of pairs that did not fail: mean inlier probability, share of inliers (errors below 10 deg)."
        )
        rows = metrics_table(title, _COLUMNS)
        for degradation, by_estimator in self._with_all().items():
            for name, found in by_estimator.items():
                statistics = PairStatistics.of(found)
                rows.add_row(
                    degradation,
                    name,
                    f"{statistics.failures}/{statistics.pairs}",
                    joined(statistics.auc_unfolded),
                    joined({key: shares["3"] for key, shares in statistics.coverage.items()}, 2),
                    joined(rank_correlations(found), 2),
                    number(statistics.mean_inlier_probability, 2),
                    number(statistics.inlier_share, 2),
                    end_section=name == list(by_estimator)[-1],
                )
        console.print(rows)

    def _with_all(self) -> dict[str, Mapping[str, Sequence[PairResult]]]:
        """Return the results and, if there are several degradations, those of all of them as ``all``."""
        names = next(iter(self.results.values()), {})
        pooled = {
            name: [result for by_estimator in self.results.values() for result in by_estimator[name]]
            for name in names
        }
        return {**self.results, **({"all": pooled} if len(self.results) > 1 else {})}


def evaluate_stress(
    sets: Mapping[str, Sequence[DataSetPair]],
    estimators: Mapping[str, RelativePoseEstimator],
    degradations: Sequence[str],
    max_pairs: int | None = None,
    seed: int = 0,
    console: Console | None = None,
) -> StressReport:
    """Run estimators on the same pairs under each degradation.

    Args:
        sets: pairs by name of the set.
        estimators: estimators by name.
        degradations: names in ``DEGRADATIONS``.
        max_pairs, seed, console: see ``evaluate_on``; the seed is also that of the degradations.

    Raises:
        ConfigurationError: a degradation is unknown.
        DataError: an image is missing or does not fit its camera.
    """
    unknown = [name for name in degradations if name not in DEGRADATIONS]
    if unknown or not degradations:
        raise ConfigurationError(
            f"unknown degradation {', '.join(map(repr, unknown))}; known are {', '.join(DEGRADATIONS)}"
        )
    results: dict[str, Mapping[str, Sequence[PairResult]]] = {}
    for degradation in degradations:
        change = partial(degraded, degradation, seed=seed)
        report = evaluate_on(sets, estimators, max_pairs, seed, console, change=change)
        results[degradation] = {name: report.all_results(name) for name in estimators}
    return StressReport(results)


def rank_correlations(results: Sequence[PairResult]) -> dict[str, float]:
    """Return the rank correlation of sigma and error (``rotation``, ``direction``); NaN if undefined."""
    return {name: errors.rank_correlation for name, errors in normal_errors(results).items()}
