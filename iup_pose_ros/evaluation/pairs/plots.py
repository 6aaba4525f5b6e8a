"""Plots of covariances and inlier probabilities, as PNG files: reliability and sparsification.

Reliability: observed coverage over nominal probability. On the diagonal the estimator is consistent, below it
is over-confident. The same for the observed share of inliers over the inlier probability.
Sparsification: median error of the remaining pairs when the pairs with the largest sigma are removed first,
compared with an oracle that removes the pairs with the largest error. Sources: Guo et al., "On calibration of
modern neural networks", 2017; Ilg et al., "Uncertainty estimates and multi-hypotheses networks", 2018.
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
from iup_pose_ros.geometry.pose import tangent_basis
from iup_pose_ros.geometry.so3 import Array

BLOCKS = ("rotation", "direction")
_LEVELS = np.linspace(0.01, 0.99, 99)
_MIN_KEPT = 0.1  # fraction of pairs; medians of fewer pairs are noise


def write_plots(report: PairsReport, folder: Path) -> None:
    """Write reliability.png, sparsification.png and inlier_probability.png of the pairs of all sets.

    Raises:
        DataError: the files cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, draw in (("reliability", draw_reliability), ("sparsification", draw_sparsification)):
            figure = Figure(figsize=(9.0, 4.2), layout="constrained")
            for axes, block in zip(figure.subplots(1, len(BLOCKS)), BLOCKS, strict=True):
                draw(axes, report, block)
            figure.savefig(folder / f"{name}.png", dpi=110)
        figure = Figure(figsize=(4.6, 4.2), layout="constrained")
        draw_inlier_reliability(figure.subplots(), report)
        figure.savefig(folder / "inlier_probability.png", dpi=110)
    except OSError as error:
        raise DataError(f"cannot write plots to {folder}: {error}") from error


def reliability(consistency: Consistency, levels: Array) -> Array:
    """Return the observed coverage (L,) at nominal probabilities (L,); NaN without errors."""
    if not len(consistency.nees):
        return np.full(len(levels), np.nan)
    return np.array([np.mean(consistency.nees <= bound) for bound in chi2.ppf(levels, consistency.dof)])


def sparsification(errors: Array, sigmas: Array) -> tuple[Array, Array]:
    """Compute the sparsification curves of N pairs.

    Args:
        errors: (N,).
        sigmas: (N,) standard deviations.

    Returns:
        Median error (N,) of the remaining pairs after removing 0, 1, ... N - 1 pairs, those with the largest
        sigma first; and the same for the oracle, those with the largest error first.
    """
    by_sigma, by_error = (
        np.array([np.median(ordered[:kept]) for kept in range(len(ordered), 0, -1)])
        for ordered in (errors[np.argsort(sigmas, kind="stable")], np.sort(errors))
    )
    return by_sigma, by_error


def draw_reliability(axes: Axes, report: PairsReport, block: str) -> None:
    """Draw the reliability curve of each estimator."""
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="consistent")
    for name in report.results:
        coverage = reliability(consistencies(report.all_results(name))[block], _LEVELS)
        axes.plot(_LEVELS, coverage, label=name)
    axes.set(xlabel="nominal probability", ylabel="observed coverage", title=block)
    axes.legend()


def draw_sparsification(axes: Axes, report: PairsReport, block: str) -> None:
    """Draw the sparsification curve and the oracle of each estimator."""
    for name in report.results:
        errors, sigmas = errors_and_sigmas(report.all_results(name), block)
        if not len(errors):
            continue
        by_sigma, by_error = sparsification(errors, sigmas)
        removed = np.arange(len(errors)) / len(errors)
        shown = removed <= 1.0 - _MIN_KEPT
        (line,) = axes.plot(removed[shown], by_sigma[shown], label=name)
        axes.plot(removed[shown], by_error[shown], color=line.get_color(), linestyle=":")
    axes.set(
        xlabel="fraction removed (dotted: oracle)", ylabel="median error of the rest, degrees", title=block
    )
    axes.set_yscale("log")
    axes.legend()


def draw_inlier_reliability(axes: Axes, report: PairsReport) -> None:
    """Draw the observed share of inliers of each estimator over its inlier probability.

    Error bars are standard deviations of a share of so many poses (Agresti and Coull, "Approximate is better
    than 'exact'", 1998).
    """
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="calibrated")
    for name in report.results:
        bins = report.inlier_reliability(name)
        if not bins:
            continue
        poses = np.array([found.poses for found in bins])
        shares = np.array([found.inlier_share for found in bins])
        smoothed = (shares * poses + 2.0) / (poses + 4.0)
        deviations = np.sqrt(smoothed * (1.0 - smoothed) / (poses + 4.0))
        means = [found.mean_probability for found in bins]
        axes.errorbar(means, shares, yerr=deviations, marker="o", capsize=2.0, label=name)
    axes.set(xlabel="inlier probability", ylabel="observed share of inliers", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend()


def errors_and_sigmas(results: Sequence[PairResult], block: str) -> tuple[Array, Array]:
    """Return errors (N,), degrees, and sigmas (N,), radians, of the pairs that did not fail."""
    rows = []
    for result in results:
        error = result.rotation_deg if block == "rotation" else result.direction_deg
        if result.estimate is None or np.isnan(error):
            continue
        covariance, translation = result.estimate.covariance, result.estimate.pose.translation
        if block == "rotation":
            variance = np.trace(covariance[3:, 3:])
        else:
            length = float(np.linalg.norm(translation))
            basis = tangent_basis(translation / length)
            variance = np.trace(basis.T @ covariance[:3, :3] @ basis / length**2)
        rows.append((error, np.sqrt(variance)))
    table = np.array(rows).reshape(-1, 2)
    return table[:, 0], table[:, 1]
