"""Calibration: one factor on the standard deviations of rotation and one on direction.

The network has a pair of factors, and so have the poses of tracks with which the hybrid joins it.

A factor is chosen so that the shares of errors inside regions of nominal probability come nearest to these
probabilities. Every set of pairs counts once, so that the factor suits scenes, not the largest set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from scipy.stats import chi2

from iup_pose_ros.datasets.images import DataSetPair
from iup_pose_ros.errors import DataError
from iup_pose_ros.estimators.base import RelativePoseEstimator
from iup_pose_ros.estimators.hybrid import HybridEstimator
from iup_pose_ros.estimators.iup_pose import IUPPoseEstimator
from iup_pose_ros.evaluation.calibration import Consistency
from iup_pose_ros.evaluation.pairs import evaluate_on
from iup_pose_ros.evaluation.pairs_report import PairsReport, consistencies
from iup_pose_ros.model.checkpoint import CheckpointInfo, Temperatures, load_checkpoint, save_checkpoint

LEVELS = np.linspace(0.5, 0.98, 25)  # small regions matter little to a filter, and 0.98 needs no giant sample
FACTORS = np.geomspace(0.05, 20.0, 600)
FEWEST_ERRORS = 10


def fitted_temperature(sets: Sequence[Consistency]) -> float:
    """Factor on standard deviations that brings coverage nearest to nominal, each set with equal weight.

    Args:
        sets: errors normalised by the deviations to be corrected; those without errors do not count.

    Raises:
        DataError: there are fewer errors than a factor can be told from.
    """
    sets = [found for found in sets if len(found.nees)]
    count = sum(len(found.nees) for found in sets)
    if count < FEWEST_ERRORS:
        raise DataError(f"{count} errors are too few for a calibration; {FEWEST_ERRORS} are needed")
    misfits = [np.square(_mean_coverage(sets, factor) - LEVELS).sum() for factor in FACTORS]
    best = np.flatnonzero(misfits == np.min(misfits))
    return float(np.exp(np.log(FACTORS[best]).mean()))


def _mean_coverage(sets: Sequence[Consistency], factor: float) -> np.ndarray:
    """Shares of errors inside the regions of LEVELS after deviations are multiplied by a factor."""
    shares = [
        np.searchsorted(np.sort(found.nees), factor**2 * chi2.ppf(LEVELS, found.dof)) / len(found.nees)
        for found in sets
    ]
    return np.asarray(np.mean(shares, axis=0))


def fitted_temperatures(report: PairsReport, estimator: str) -> Temperatures:
    """Both factors from the results of an estimator.

    Raises:
        DataError: too few pairs have a rotation, or a direction, to compare.
    """
    blocks = [consistencies(results) for results in report.results[estimator].values()]
    return Temperatures(
        rotation=fitted_temperature([block["rotation"] for block in blocks]),
        direction=fitted_temperature([block["direction"] for block in blocks]),
    )


def calibrated_weights(
    weights: Path,
    sets: Mapping[str, Sequence[DataSetPair]],
    output: Path,
    max_pairs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    console: Console | None = None,
) -> tuple[PairsReport, PairsReport]:
    """Fit a weights file's temperatures and write it with them; figures before and after, on the same pairs.

    Args:
        weights, output: the file to calibrate and the one to write, which may be the same.
        sets: pairs by set, not seen in training.
        max_pairs, seed, console: as ``evaluation.pairs.evaluate_on``.
        device: where the network runs.

    Raises:
        CheckpointError: the weights are not acceptable, or cannot be written.
        DataError: an image is missing, or there are too few pairs.
    """
    model, info = load_checkpoint(weights)

    def evaluated(info: CheckpointInfo) -> PairsReport:
        network = IUPPoseEstimator(model, info.temperatures, device)
        hybrid = HybridEstimator(network, info.track_temperatures)
        estimators: dict[str, RelativePoseEstimator] = {network.name: network, hybrid.name: hybrid}
        return evaluate_on(sets, estimators, max_pairs, seed, console)

    before = evaluated(info)
    fitted = replace(
        info,
        temperatures=_multiplied(info.temperatures, fitted_temperatures(before, IUPPoseEstimator.name)),
        # All but a few of the hybrid's poses are those of tracks, which tell much more than the network.
        track_temperatures=_multiplied(
            info.track_temperatures, fitted_temperatures(before, HybridEstimator.name)
        ),
    )
    save_checkpoint(model, fitted, output)
    return before, evaluated(fitted)


def _multiplied(first: Temperatures, second: Temperatures) -> Temperatures:
    return Temperatures(first.rotation * second.rotation, first.direction * second.direction)
