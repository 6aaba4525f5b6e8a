"""Calibration: for rotation and for direction a factor on the standard deviations, and a floor beneath them.

The network has such a correction, and so have the poses of tracks with which the hybrid joins it. The floors
stand for errors that no match shows. They are low and matter to the surest poses alone: with a high one these
would be too unsure, and a small factor would make up for it at the cost of all others. They are constants,
because fitted ones followed the ground truth of single sets. That of directions is higher: these are known
from parallax, small angles in which the same errors weigh more.

The factors are chosen so that the shares of errors inside regions of nominal probability come near these
probabilities, rather above than below them. A share is the mean of those of the sets of pairs, so that the
factors suit scenes, not the largest set. (Set by set, one whose ground truth errs would decide: most others
lie inside with any factor.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import chi2

from iup_pose_ros.datasets.image_pair import DataSetPair
from iup_pose_ros.errors import DataError
from iup_pose_ros.estimators.base import RelativePoseEstimator
from iup_pose_ros.estimators.hybrid import HybridEstimator
from iup_pose_ros.estimators.network.iup_pose_estimator import IUPPoseEstimator
from iup_pose_ros.evaluation.metrics.consistency import Consistency, NormalErrors
from iup_pose_ros.evaluation.pairs.evaluate import evaluate_on
from iup_pose_ros.evaluation.pairs.report import PairsReport, normal_errors
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.model.checkpoint import SigmaCalibration, load_checkpoint, save_checkpoint

LEVELS = np.linspace(0.5, 0.98, 25)  # small regions matter little to a filter, and 0.98 needs no giant sample
FACTORS = np.geomspace(0.05, 20.0, 240)
FLOORS = {"rotation": math.radians(0.01), "direction": math.radians(0.05)}
FEWEST_ERRORS = 10
SHORTFALL_WEIGHT = 5.0  # too small a deviation harms a filter more than one that is too large

SetErrors = Mapping[str, Mapping[str, NormalErrors]]
"""Errors by set and block (``rotation``, ``direction``)."""


def fitted_factor(sets: Sequence[NormalErrors], floor: float) -> float:
    """The factor on deviations that brings the sets' mean coverage nearest to nominal.

    Args:
        sets: errors with the deviations to be corrected; those without errors do not count.
        floor: beneath the deviations, radians.

    Raises:
        DataError: there are fewer errors than a correction can be told from.
    """
    sets = [found for found in sets if len(found)]
    count = sum(len(found) for found in sets)
    if count < FEWEST_ERRORS:
        raise DataError(f"{count} errors are too few for a calibration; {FEWEST_ERRORS} are needed")
    return float(min(FACTORS, key=lambda factor: _misfit(sets, factor, floor)))


def _misfit(sets: Sequence[NormalErrors], factor: float, floor: float) -> float:
    """Differences between mean coverage and LEVELS after the correction, weighted where it falls short."""
    inside = np.mean([_coverage(found.consistency(factor, floor)) for found in sets], axis=0)
    weights = np.where(inside < LEVELS, SHORTFALL_WEIGHT, 1.0)
    return float((weights * np.abs(inside - LEVELS)).sum())


def _coverage(errors: Consistency) -> Array:
    """Shares of the errors inside the regions of LEVELS."""
    return np.searchsorted(np.sort(errors.nees), _bounds(errors.dof)) / len(errors.nees)


@cache
def _bounds(dof: int) -> Array:
    """Squared normalised errors at the edges of the regions of LEVELS."""
    return np.asarray(chi2.ppf(LEVELS, dof))


def fitted_temperatures(sets: SetErrors) -> SigmaCalibration:
    """The corrections of rotation and direction.

    Raises:
        DataError: too few pairs have a rotation, or a direction, to compare.
    """
    factors = {
        name: fitted_factor([blocks[name] for blocks in sets.values()], floor)
        for name, floor in FLOORS.items()
    }
    return SigmaCalibration(
        factors["rotation"], factors["direction"], FLOORS["rotation"], FLOORS["direction"]
    )


def left_out(sets: SetErrors) -> dict[str, dict[str, Consistency]]:
    """Every set's errors normalised after the correction that the other sets call for."""
    result = {}
    for name, blocks in sets.items():
        fitted = fitted_temperatures({other: found for other, found in sets.items() if other != name})
        result[name] = {
            "rotation": blocks["rotation"].consistency(fitted.rotation, fitted.rotation_floor),
            "direction": blocks["direction"].consistency(fitted.direction, fitted.direction_floor),
        }
    return result


def print_left_out(report: PairsReport, console: Console) -> None:
    """Print what share of errors lies inside 1/2/3 sigma, every set corrected as the others call for.

    Args:
        report: of uncorrected estimators, on at least two sets.
        console: where to print.
    """
    table = Table("set", "estimator", "R in 1/2/3 sigma", "t in 1/2/3 sigma")
    for estimator in report.results:
        found = left_out(set_errors(report, estimator))
        sets = list(found.values())
        found["all pairs"] = {
            block: Consistency(np.concatenate([blocks[block].nees for blocks in sets]), sets[0][block].dof)
            for block in ("rotation", "direction")
        }
        for name, blocks in found.items():
            shares = [
                "/".join(f"{share:.2f}" for share in blocks[block].coverage.values())
                for block in ("rotation", "direction")
            ]
            table.add_row(name, estimator, *shares, end_section=name == "all pairs")
    console.print(table)


def set_errors(report: PairsReport, estimator: str) -> SetErrors:
    """Errors of an estimator by set and block."""
    return {name: normal_errors(results) for name, results in report.results[estimator].items()}


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
        weights, output: the file to calibrate and the one to write, which may be the same. Corrections that
            it has already do not count.
        sets: pairs by set, not seen in training.
        max_pairs, seed, console: as ``evaluation.pairs.evaluate.evaluate_on``.
        device: where the network runs.

    Raises:
        CheckpointError: the weights are not acceptable, or cannot be written.
        DataError: an image is missing, or there are too few pairs.
    """
    model, info = load_checkpoint(weights)

    def evaluated(
        network_temperatures: SigmaCalibration, track_temperatures: SigmaCalibration
    ) -> PairsReport:
        network = IUPPoseEstimator(model, network_temperatures, device)
        hybrid = HybridEstimator(network, track_temperatures)
        estimators: dict[str, RelativePoseEstimator] = {network.name: network, hybrid.name: hybrid}
        return evaluate_on(sets, estimators, max_pairs, seed, console)

    before = evaluated(SigmaCalibration(), SigmaCalibration())
    temperatures = fitted_temperatures(set_errors(before, IUPPoseEstimator.name))
    # All but a few of the hybrid's poses are those of tracks, which tell much more than the network.
    track_temperatures = fitted_temperatures(set_errors(before, HybridEstimator.name))
    fitted = replace(info, temperatures=temperatures, track_temperatures=track_temperatures)
    save_checkpoint(model, fitted, output)
    return before, evaluated(temperatures, track_temperatures)
