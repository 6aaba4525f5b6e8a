"""Fitting of the sigma calibration: a factor and a floor for the sigmas of rotation and of direction.

The network and the hybrid estimator each have their own calibration. The floor accounts for errors that do
not show in the residuals of the matches, such as those of the camera calibration and of rolling shutters. It
affects only the most confident poses: a high floor would make these under-confident, and the fit would
compensate by a factor that is too small for all other poses. Floors are constants, because fitted floors
overfitted the ground truth of single sets.

The factor minimises the difference between nominal and observed coverage, where a coverage below nominal
(over-confidence) costs more. The observed coverage is averaged over the sets, so that each set has the same
weight, whatever its size. (A fit that is weighted by set errors instead would be dominated by a set with
inaccurate ground truth.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import chi2

from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation.metrics.consistency import Consistency, NormalErrors
from iup_pose_ros.evaluation.pairs.evaluate import scene_of
from iup_pose_ros.evaluation.pairs.report import PairsReport, normal_errors
from iup_pose_ros.model.checkpoint import SigmaCalibration

# Nominal probabilities: lower ones are of little relevance to a filter, higher ones need a larger sample.
LEVELS = np.linspace(0.5, 0.98, 25)
FACTORS = np.geomspace(0.05, 20.0, 240)
FLOORS = {"rotation": math.radians(0.1), "direction": math.radians(0.1)}
MIN_ERRORS = 10
OVERCONFIDENCE_COST = 5.0  # a sigma that is too small harms a filter more than one that is too large

SetErrors = Mapping[str, Mapping[str, NormalErrors]]
"""Errors by set and block (``rotation``, ``direction``)."""


def fit_factor(sets: Sequence[NormalErrors], floor: float) -> float:
    """Find the sigma factor for which the coverage, averaged over the sets, is nearest to nominal.

    Args:
        sets: errors with the sigmas to calibrate; empty sets are ignored.
        floor: standard deviation to be added in quadrature, radians.

    Raises:
        DataError: there are fewer than ``MIN_ERRORS`` errors.
    """
    sets = [errors for errors in sets if len(errors)]
    count = sum(len(errors) for errors in sets)
    if count < MIN_ERRORS:
        raise DataError(f"{count} errors are too few for a calibration; at least {MIN_ERRORS} are required")
    bounds = np.asarray(chi2.ppf(LEVELS, sets[0].components.shape[1]))

    def cost(factor: float) -> float:
        nees = [np.sort(errors.consistency(factor, floor).nees) for errors in sets]
        coverage = np.mean([np.searchsorted(values, bounds) / len(values) for values in nees], axis=0)
        weights = np.where(coverage < LEVELS, OVERCONFIDENCE_COST, 1.0)
        return float((weights * np.abs(coverage - LEVELS)).sum())

    return float(min(FACTORS, key=cost))


def fit_sigma_calibration(sets: SetErrors) -> SigmaCalibration:
    """Fit the sigma calibration of rotation and direction.

    Raises:
        DataError: there are too few rotation or direction errors.
    """
    factors = {
        name: fit_factor([blocks[name] for blocks in sets.values()], floor) for name, floor in FLOORS.items()
    }
    return SigmaCalibration(
        factors["rotation"], factors["direction"], FLOORS["rotation"], FLOORS["direction"]
    )


def leave_one_out(sets: SetErrors) -> dict[str, dict[str, Consistency]]:
    """Return the consistency of each set with the calibration fitted to all sets of other scenes."""
    result = {}
    for name, blocks in sets.items():
        fitted = fit_sigma_calibration(
            {other: errors for other, errors in sets.items() if scene_of(other) != scene_of(name)}
        )
        result[name] = {
            "rotation": blocks["rotation"].consistency(fitted.rotation, fitted.rotation_floor),
            "direction": blocks["direction"].consistency(fitted.direction, fitted.direction_floor),
        }
    return result


def print_leave_one_out(report: PairsReport, console: Console) -> None:
    """Print the 1/2/3 sigma coverage of each set when calibrated on the other sets.

    Args:
        report: results of uncalibrated estimators on at least two sets.
        console: where to print.
    """
    table = Table("set", "estimator", "R in 1/2/3 sigma", "t in 1/2/3 sigma")
    for estimator in report.results:
        sets = leave_one_out(set_errors(report, estimator))
        pooled = {}
        for block in FLOORS:
            parts = [blocks[block] for blocks in sets.values()]
            pooled[block] = Consistency(np.concatenate([part.nees for part in parts]), parts[0].dof)
        for name, blocks in {**sets, "all pairs": pooled}.items():
            coverages = [
                "/".join(f"{share:.2f}" for share in blocks[block].coverage.values()) for block in FLOORS
            ]
            table.add_row(name, estimator, *coverages, end_section=name == "all pairs")
    console.print(table)


def set_errors(report: PairsReport, estimator: str) -> SetErrors:
    """Return the errors of an estimator by set and block."""
    return {name: normal_errors(results) for name, results in report.results[estimator].items()}
