"""Plots of how far an estimator's covariance can be trusted: reliability and sparsification. PNG files.

Reliability: share of errors inside the region of a nominal probability, against that probability. The
diagonal is honest; below it the estimator is too sure of itself.
Sparsification: median error of the pairs that are left when the least certain ones are dropped first, against
the best order there is (an oracle that knows the errors). Sources: Guo et al., "On calibration of modern
neural networks", 2017; Ilg et al., "Uncertainty estimates and multi-hypotheses networks", 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import chi2

from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation.metrics.consistency import Consistency
from iup_pose_ros.evaluation.pairs.report import PairResult, PairsReport, consistencies
from iup_pose_ros.geometry.directions import tangent_basis
from iup_pose_ros.geometry.so3 import Array

BLOCKS = ("rotation", "direction")
_LEVELS = np.linspace(0.01, 0.99, 99)
_LEAST_KEPT = 0.1  # medians of fewer pairs are noise


def write_plots(report: PairsReport, folder: Path) -> None:
    """Write reliability.png and sparsification.png of all sets pooled.

    Raises:
        DataError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, draw in (("reliability", _draw_reliability), ("sparsification", _draw_sparsification)):
            figure = Figure(figsize=(9.0, 4.2), layout="constrained")
            for axes, block in zip(figure.subplots(1, len(BLOCKS)), BLOCKS, strict=True):
                draw(axes, report, block)
            figure.savefig(folder / f"{name}.png", dpi=110)
    except OSError as error:
        raise DataError(f"cannot write plots to {folder}: {error}") from error


def reliability(consistency: Consistency, levels: Array) -> Array:
    """Share of errors inside the region of each nominal probability; NaN without errors."""
    if not len(consistency.nees):
        return np.full(len(levels), np.nan)
    return np.array([np.mean(consistency.nees <= bound) for bound in chi2.ppf(levels, consistency.dof)])


def sparsification(errors: Array, deviations: Array) -> tuple[Array, Array]:
    """Median error (N,) of what is left when 0, 1, ... of N pairs are dropped, by deviation and by error."""
    return _medians(errors[np.argsort(deviations, kind="stable")]), _medians(np.sort(errors))


def _medians(ordered: Array) -> Array:
    """Medians of the first N, N - 1, ..., 1 values."""
    return np.array([np.median(ordered[:kept]) for kept in range(len(ordered), 0, -1)])


def _draw_reliability(axes: Axes, report: PairsReport, block: str) -> None:
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="honest")
    for name in report.results:
        shares = reliability(consistencies(_pooled(report, name))[block], _LEVELS)
        axes.plot(_LEVELS, shares, label=name)
    axes.set(xlabel="nominal probability", ylabel="share of errors inside", title=block)
    axes.legend()


def _draw_sparsification(axes: Axes, report: PairsReport, block: str) -> None:
    for name in report.results:
        errors, deviations = _errors_and_deviations(_pooled(report, name), block)
        if not len(errors):
            continue
        by_deviation, by_error = sparsification(errors, deviations)
        dropped = np.arange(len(errors)) / len(errors)
        shown = dropped <= 1.0 - _LEAST_KEPT
        (line,) = axes.plot(dropped[shown], by_deviation[shown], label=name)
        axes.plot(dropped[shown], by_error[shown], color=line.get_color(), linestyle=":")
    axes.set(xlabel="share dropped (dotted: oracle)", ylabel="median error of the rest, degrees", title=block)
    axes.set_yscale("log")
    axes.legend()


def _pooled(report: PairsReport, name: str) -> list[PairResult]:
    return [result for found in report.results[name].values() for result in found]


def _errors_and_deviations(results: Sequence[PairResult], block: str) -> tuple[Array, Array]:
    """Errors in degrees of pairs that did not fail, and the root of their variance's trace."""
    rows = []
    for result in results:
        error = result.rotation_deg if block == "rotation" else result.direction_deg
        if result.estimate is None or np.isnan(error):
            continue
        rows.append((error, np.sqrt(np.trace(_block_covariance(result, block)))))
    table = np.array(rows).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _block_covariance(result: PairResult, block: str) -> Array:
    if result.estimate is None:
        raise ValueError("a failure has no covariance")
    covariance = result.estimate.covariance
    if block == "rotation":
        return covariance[3:, 3:]
    translation = result.estimate.pose.translation
    length = float(np.linalg.norm(translation))
    basis = tangent_basis(translation / length)
    return basis.T @ covariance[:3, :3] @ basis / length**2
