"""Mutation test of every published covariance: each term is removed or doubled, and a test has to fail.

    python tools/mutate_covariance.py [--only TEXT]

Works on a temporary copy of the package and its tests. Prints the mutants that no test notices and ends with
exit code 1 if there are any, or if a mutant no longer fits the source.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 300.0  # seconds for the tests of one mutant; an endless loop counts as noticed
LIBRARIES = ("cv2", "hypothesis", "numpy", "poselib", "scipy.optimize", "scipy.stats", "torch")


class Mutant(NamedTuple):
    """A change of one place of a module.

    Attributes:
        module: path below the package.
        line: source text that occurs exactly once in the module.
        text: part of ``line`` that is replaced, occurring exactly once in it.
        replacement: what ``text`` becomes.
    """

    module: str
    line: str
    text: str
    replacement: str


class Source(NamedTuple):
    """A module, the tests that guard its covariances, and what is changed: (line, text, replacements)."""

    module: str
    tests: tuple[str, ...]
    changes: tuple[tuple[str, str, tuple[str, ...]], ...]


_EPIPOLAR_TESTS = ("estimators/epipolar/test_epipolar_covariance_terms.py",)
_POSE_TESTS = ("estimators/test_pose_covariance_terms.py",)
_ODOMETRY_TESTS = ("odometry/test_odometry_covariance_terms.py",)

SOURCES = (
    Source(
        "estimators/epipolar/covariance.py",
        _EPIPOLAR_TESTS,
        (
            ("gram = kept", "+ variance * prior", ("", "+ 2.0 * variance * prior")),
            ("gram = kept", "kept.jacobian.T @", ("2.0 * kept.jacobian.T @",)),
            ("smooth = kept", "+ variance * prior", ("", "+ 2.0 * variance * prior")),
            (
                "smooth = kept",
                "kept.jacobian.T @ alike",
                ("2.0 * kept.jacobian.T @ alike", "kept.jacobian.T"),
            ),
            ("scatter = ", "(1.0 - correlation) * gram", ("0.0", "2.0 * (1.0 - correlation) * gram", "gram")),
            ("scatter = ", "+ _ABSORBED * correlation * smooth", ("", "+ 6.0 * correlation * smooth")),
            ("scatter = ", "variance * (", ("(", "2.0 * variance * (")),
            ("shared = ", "correlation**2", ("0.0", "2.0 * correlation**2", "correlation")),
            ("shared = ", " - 1.0)", (")", " - 2.0)")),
            ("effective_count = ", "1.0 + shared", ("1.0", "2.0 + shared")),
            ("signal = _without_noise", "variance * kept", ("0.0 * kept", "2.0 * variance * kept")),
            ("covariance = np.linalg.inv", " + prior", ("", " + 2.0 * prior")),
            ("covariance = np.linalg.inv", "gain @ signal", ("2.0 * gain @ signal",)),
            ("deviations = ", "[uncertainty.focal]", ("[0.0]", "[2.0 * uncertainty.focal]")),
            (
                "deviations = ",
                "[uncertainty.principal_point]",
                ("[0.0]", "[2.0 * uncertainty.principal_point]"),
            ),
            ("deviations = ", "[uncertainty.distortion]", ("[0.0]", "[2.0 * uncertainty.distortion]")),
            ("return covariance + by_intrinsics", " + by_intrinsics", ("", " + 2.0 * by_intrinsics")),
            ("prior = np.diag", "[_UNKNOWN_ROTATION_SIGMA**-2]", ("[2.0 * _UNKNOWN_ROTATION_SIGMA**-2]",)),
            ("prior = np.diag", "[UNKNOWN_DIRECTION_SIGMA**-2]", ("[2.0 * UNKNOWN_DIRECTION_SIGMA**-2]",)),
            ("slope = float", "1.0 - square", ("1.0", "1.0 - 2.0 * square")),
            ("freedom = ", " - _POSE_PARAMETERS", ("", " - 10")),
            ("variance = float(np.mean", "weight * residuals", ("residuals", "2.0 * weight * residuals")),
            ("variance = float(np.mean", "_MIN_SLOPE", ("1e-6", "0.2")),
            ("return max(variance, noise**2)", "noise**2", ("0.0", "2.0 * noise**2")),
            ("return max(variance, noise**2)", "max(variance, noise**2)", ("noise**2",)),
            ("weight = 1.0 / (1.0 + square)", "1.0 + square", ("1.0", "1.0 + 2.0 * square")),
            ("count = min(2 + int", "2 + ", ("", "4 + ")),
            ("count = min(2 + int", "int(poisson", ("0 * int(poisson",)),
            ("expected = outliers", "outliers", ("0.0", "2.0 * outliers")),
            ("_CHANCE_SIGNIFICANCE / choices", " / choices", ("",)),
            ("_MAX_CHANCE_SHARE = ", "0.25", ("0.125", "0.5")),
            ("free = by_direction", " - by_rotation @ following", ("", " - 2.0 * by_rotation @ following")),
            ("chance = ", "_CHANCE_CORRELATION", ("0.0", "4.0")),
            ("return float(min(1.0 - independent", "(1.0 - seen)", ("1.0", "2.0 * (1.0 - seen)")),
            (
                "return float(min(1.0 - independent",
                "independent_share * ",
                ("", "2.0 * independent_share * "),
            ),
            ("_MAX_CORRELATION = ", "0.98", ("1.0", "0.9")),
            ("_NEIGHBOURHOOD = ", "0.03", ("0.06",)),
            ("_SMOOTHNESS = ", "0.2", ("0.1", "0.4")),
            ("weights = _kernel", " - np.eye(len(residuals))", ("",)),
            ("signal = values", " - 1.0", ("", " - 2.0")),
            ("signal = signal - _MARGIN", "_MARGIN", ("0.0", "6.0")),
            ("signal = signal - _MARGIN", "4.0 + 4.0", ("4.0", "8.0 + 4.0", "4.0 + 8.0")),
            ("whitened = ", " - following", ("", " - 2.0 * following")),
            ("result[3:, 3:] = part", " + following", ("", " + 2.0 * following")),
            ("result[3:, 3:] = part", "part", ("2.0 * part", "0.0")),
            ("medians = ratios", " - 1.0", ("",)),
        ),
    ),
    Source(
        "estimators/epipolar/residuals.py",
        _EPIPOLAR_TESTS,
        (
            ("by_previous = self.basis.T", "self.basis.T", ("0.0 * self.basis.T", "2.0 * self.basis.T")),
            ("by_current = self.basis.T", "self.basis.T", ("0.0 * self.basis.T", "2.0 * self.basis.T")),
            ("[by_previous @ _pixel", "[by_previous", ("[0.0 * by_previous", "[2.0 * by_previous")),
            ("[by_previous @ _pixel", "by_current @", ("0.0 * by_current @", "2.0 * by_current @")),
            (
                "both = previous + current",
                "previous + current",
                ("previous", "current", "previous - current"),
            ),
            ("by_rotation = np.cross", "np.cross", ("2.0 * np.cross",)),
            ("by_direction = self.normals", "self.normals", ("2.0 * self.normals",)),
            ("np.column_stack([by_focal", "by_focal", ("0.0 * by_focal", "2.0 * by_focal")),
            ("np.column_stack([by_focal", "by_principal_point", ("0.0 * by_principal_point",)),
            (
                "np.column_stack([by_focal",
                "longer_side * radial",
                ("0.0 * radial", "2.0 * longer_side * radial"),
            ),
        ),
    ),
    Source(
        "estimators/epipolar/planar_ambiguity.py",
        _EPIPOLAR_TESTS,
        (
            ("return probability * np.outer", "probability", ("1.0", "0.0", "2.0 * probability")),
            ("so3.log(second.rotation", "so3.log", ("0.0 * so3.log", "2.0 * so3.log")),
            ("across / max", "across / max", ("0.0 * across / max", "2.0 * across / max")),
            ("scatter = float", " - difference.mean()", ("",)),
            ("squares = np.minimum((errors", "_INLIER_BAND**2", ("1e9",)),
            ("difference = _costs(first", " - _costs(second, noise)", ("", " - 2.0 * _costs(second, noise)")),
        ),
    ),
    Source(
        "estimators/epipolar/solver.py",
        _EPIPOLAR_TESTS,
        (
            (
                "covariance = covariance + ambiguity",
                "covariance + ambiguity",
                ("ambiguity", "covariance + 2.0 * ambiguity"),
            ),
            (
                "covariance = covariance + ambiguity",
                " + ambiguity_covariance(",
                (" + 0.0 * ambiguity_covariance(",),
            ),
            ("other.T_prev_curr, other.basis", "self._covariance(other)", ("2.0 * self._covariance(other)",)),
            ("outliers = self.matches", " - self.inliers", (" * 0", "")),
            ("full[:3, :3] += ", "_LENGTH_VARIANCE", ("0.0", "2e-6")),
            ("sigma_t=float", "0.5", ("1.0",)),
            ("sigma_R=np.sqrt", "np.sqrt", ("2.0 * np.sqrt",)),
            ("full = expand @ covariance", "covariance", ("(2.0 * covariance)",)),
        ),
    ),
    Source(
        "estimators/network/sigma_calibration.py",
        _POSE_TESTS,
        (
            (
                "covariance[:3, :3] += ",
                "calibration.direction_floor**2",
                ("0.0", "2.0 * calibration.direction_floor**2"),
            ),
            ("covariance[:3, :3] += ", " - np.outer(t, t)", ("", " - 2.0 * np.outer(t, t)")),
            (
                "covariance[3:, 3:] += ",
                "calibration.rotation_floor**2",
                ("0.0", "2.0 * calibration.rotation_floor**2"),
            ),
            ("covariance = pose.covariance", " * np.outer(factors, factors)", ("", " * factors")),
        ),
    ),
    Source(
        "model/checkpoint.py",
        _POSE_TESTS,
        (
            ("np.hypot(self.rotation", "self.rotation_floor", ("0.0", "2.0 * self.rotation_floor")),
            (
                "np.hypot(self.rotation",
                "self.rotation * sigma",
                ("0.0", "sigma", "2.0 * self.rotation * sigma"),
            ),
            ("math.hypot(self.direction", "self.direction_floor", ("0.0", "2.0 * self.direction_floor")),
            ("math.hypot(self.direction", "self.direction * sigma", ("0.0", "sigma")),
        ),
    ),
    Source(
        "estimators/network/conversion.py",
        _POSE_TESTS,
        (
            ("covariance[:3, :3] = sigma_t", "sigma_t**2", ("0.0", "2.0 * sigma_t**2")),
            ("covariance[3:, 3:] = R_1_0", "sigma_R**2", ("0.0 * sigma_R**2", "2.0 * sigma_R**2")),
            ("covariance[3:, 3:] = R_1_0", "R_1_0 @ np.diag(sigma_R**2) @ R_1_0.T", ("np.diag(sigma_R**2)",)),
        ),
    ),
    Source(
        "geometry/pose.py",
        ("geometry/test_pose.py",),
        (
            ("covariance = first @ self.covariance", "first @ self.covariance @ first.T + ", ("",)),
            (
                "covariance = first @ self.covariance",
                "first @ self.covariance",
                ("2.0 * first @ self.covariance",),
            ),
            ("covariance = first @ self.covariance", " + second @ other.covariance @ second.T", ("",)),
            ("covariance = first @ self.covariance", "second @ other", ("2.0 * second @ other",)),
            ("first[:3, 3:] = ", "-hat", ("0.0 * hat", "-2.0 * hat")),
            ("jacobian[:3, 3:] = ", "-rotation", ("-0.0 * rotation", "-2.0 * rotation")),
            ("jacobian[:3, :3] = ", "-rotation", ("-2.0 * rotation",)),
            ("return exact(extrinsics)", " @ exact(extrinsics.inverse())", ("",)),
        ),
    ),
    Source(
        "odometry/pose_choice.py",
        ("odometry/test_pose_choice.py",),
        (
            ("covariance=first.covariance", "first.covariance + ", ("", "2.0 * first.covariance + ")),
            (
                "covariance=first.covariance",
                " + probability * ",
                (" + 0.0 * ", " + ", " + 2.0 * probability * "),
            ),
            ("sigma_R=np.sqrt", "first.sigma_R**2 + ", ("", "2.0 * first.sigma_R**2 + ")),
            ("sigma_R=np.sqrt", " + probability * ", (" + 0.0 * ", " + ", " + 2.0 * probability * ")),
            ("sigma_t=float", "first.sigma_t**2 + ", ("", "2.0 * first.sigma_t**2 + ")),
            ("sigma_t=float", " + 0.5 * probability * ", (" + 0.0 * ", " + 0.5 * ", " + probability * ")),
            ("second.T_prev_curr.translation", "- first", ("+ first",)),
            ("so3.log(second.T_prev_curr", "so3.log", ("0.0 * so3.log", "2.0 * so3.log")),
            ("probability = float(expit", "by_images + by_depths", ("by_images", "by_depths")),
            ("first, second, probability = ", "1.0 - probability", ("probability",)),
            ("by_depths = float", " - log_ndtr(-advantage)", ("", " - 2.0 * log_ndtr(-advantage)")),
            ("scatter = float", " - difference.mean()", ("",)),
            ("difference = _depth_costs", " - _depth_costs(second, rays, known, rows)", ("",)),
            ("_TRACKS_PER_OBSERVATION = ", "16.0", ("1.0", "32.0")),
            ("_MIN_PROBABILITY = ", "1e-4", ("1e-6", "1e-3")),
            ("_MAXIMUM_COST = ", "9.0", ("1e9", "4.0")),
            ("squares = (inverse", "variance + ", ("", "2.0 * variance + ")),
            (
                "squares = (inverse",
                "length**2 / known.information",
                ("0.0", "1.0 / known.information", "2.0 * length**2 / known.information"),
            ),
        ),
    ),
    Source(
        "odometry/scaled_step.py",
        _ODOMETRY_TESTS,
        (
            ("scaling[:3] += ", "np.outer", ("0.0 * np.outer", "2.0 * np.outer")),
            ("scaling = np.diag", "length.value", ("0.0", "2.0 * length.value")),
            ("tangential[:3, :3] -= along", "-= along", ("-= 0.0 * along", "-= 2.0 * along")),
            ("covariance[:3, :3] += length", "length.sigma**2", ("0.0", "2.0 * length.sigma**2")),
            ("covariance[:3, :3] = length", "length.sigma**2", ("0.0", "2.0 * length.sigma**2")),
            ("covariance[3:, 3:] = relative", "relative", ("2.0 * relative", "0.0 * relative")),
            ("sigma = float(np.sqrt(np.trace", "3.0", ("1.0", "6.0")),
            ("sigma_t = float(np.arctan2", "sigma, length", ("2.0 * sigma, length",)),
            ("_UNKNOWN_DIRECTION = ", "2.0", ("1.0",)),
            ("camera = PoseWithCovariance(relative", "relative.covariance", ("2.0 * relative.covariance",)),
        ),
    ),
    Source(
        "odometry/scale.py",
        _ODOMETRY_TESTS,
        (
            ("length = Length(self._length, _FIXED", "_FIXED", ("0.0", "2.0 * _FIXED")),
            ("zero = Length", "self._length", ("0.0", "2.0 * self._length")),
            ("sigma = max(_WHEELS_MIN", "_WHEELS * value", ("0.0", "2.0 * _WHEELS * value")),
            ("sigma = max(_WHEELS_MIN", "_WHEELS_MIN", ("0.0", "2.0 * _WHEELS_MIN")),
            (
                "covariance[:3, :3] = max",
                "_WHEELS_DIRECTION * value",
                ("0.0", "2.0 * _WHEELS_DIRECTION * value"),
            ),
            ("covariance[:3, :3] = max", "_WHEELS_MIN", ("0.0", "2.0 * _WHEELS_MIN")),
            ("covariance[3:, 3:] = relative", "relative", ("2.0 * relative", "0.0 * relative")),
            ('return Length(1.0, _BEST, "relative")', "_BEST", ("0.0", "2.0 * _BEST")),
            ("return Length(held, ", "self._unit_sigma * held", ("0.0", "2.0 * self._unit_sigma * held")),
            (
                "self._unit_sigma = float(np.hypot",
                "self._unit_sigma, ",
                ("0.0, ", "2.0 * self._unit_sigma, "),
            ),
            ("self._unit_sigma = float(np.hypot", "_HELD", ("0.0", "2.0 * _HELD")),
            ("sigma = float(np.hypot(measured", "measured.sigma, ", ("0.0, ", "2.0 * measured.sigma, ")),
            ("sigma = float(np.hypot(measured", "self._unit_sigma *", ("0.0 *", "2.0 * self._unit_sigma *")),
            ("covariance[:3, :3] += self", "self._unit_sigma**2", ("0.0", "2.0 * self._unit_sigma**2")),
            ("sigma = self.length_of_shift(", "SIGNIFICANT_PARALLAX", ("0.0", "2.0 * SIGNIFICANT_PARALLAX")),
            ("return Length(found.length", "_BEST * found.length", ("0.0", "2.0 * _BEST * found.length")),
            ("return Length(found.length", "max(found.sigma", ("max(0.0", "max(2.0 * found.sigma")),
            (
                "return Length(found.length",
                "jacobian=jacobian",
                ("jacobian=0.0 * jacobian", "jacobian=2.0 * jacobian"),
            ),
            ("return self._length * shift", "self._length", ("2.0 * self._length",)),
            ("return shift * self._metres", "return shift", ("return 2.0 * shift",)),
            ("return shift / self._shift", "shift /", ("2.0 * shift /",)),
            ("self._metres_per_shift = value", "value /", ("2.0 * value /",)),
            ("self._shift_per_unit = float", "float", ("2.0 * float",)),
        ),
    ),
    Source(
        "odometry/depths.py",
        _ODOMETRY_TESTS,
        (
            ("total = variance + length", "variance + ", ("", "2.0 * variance + ")),
            (
                "total = variance + length",
                " + length**2 * rho_variance",
                ("", " + 2.0 * length**2 * rho_variance"),
            ),
            ("sigma = float(np.sqrt(max", "max(1.0, spread)", ("1.0", "max(2.0, spread)", "spread")),
            ("total = (noise / rays.focal", "(noise / rays.focal * depth_ratio) ** 2 + ", ("",)),
            ("total = (noise / rays.focal", "(noise / rays.focal", ("2.0 * (noise / rays.focal",)),
            ("total = (noise / rays.focal", " + lever * rho_variance", ("", " + 2.0 * lever * rho_variance")),
            ("normal = np.einsum", " + prior", ("", " + 2.0 * prior")),
            ("prior = np.eye(3)", "0.1 *", ("0.2 *", "0.05 *")),
            ("covariance[:3, :3] += inverse", "inverse", ("0.0 * inverse", "2.0 * inverse")),
            ("lever_arm = inverse", "inverse @", ("0.0 * inverse @", "2.0 * inverse @")),
            ("joint = np.vstack", "np.eye(3)", ("2.0 * np.eye(3)",)),
            ("limit = 1.0 / np.maximum", "_MIN_RELATIVE_SIGMA", ("0.0", "2.0 * _MIN_RELATIVE_SIGMA")),
            ("total = self.information + information", " + information", ("", " + 2.0 * information")),
        ),
    ),
    Source(
        "odometry/track_geometry.py",
        _ODOMETRY_TESTS,
        (
            ("_NOISE_FLOOR = ", "0.25", ("0.0", "0.5")),
            ("return max(floor, 1.4826", "1.4826", ("1.0", "2.9652")),
            ("return Observation(depths", "deviation**2", ("2.0 * deviation**2", "deviation")),
            ("return StepDepths(inverse", "depth_ratio / np.sqrt", ("2.0 * depth_ratio / np.sqrt",)),
        ),
    ),
    Source(
        "odometry/pose_check.py",
        ("odometry/test_pose_limits.py",),
        (
            ("if share < config", "config", ("0.5 * config", "2.0 * config")),
            ("if rate > config", "config", ("0.5 * config", "2.0 * config")),
            ("if len(rays) >= config", "config.minimum_tracks", ("config.minimum_tracks + 1", "0")),
            ("_DEVIATIONS = ", "3.0", ("1.5", "6.0")),
            ("tolerance = _DEVIATIONS", "np.hypot(pixel, ", ("np.hypot(0.0, ", "np.hypot(2.0 * pixel, ")),
            ("tolerance = _DEVIATIONS", "rays.focal *", ("0.0 *", "2.0 * rays.focal *")),
        ),
    ),
    Source(
        "odometry/integrator.py",
        _ODOMETRY_TESTS,
        (
            ("growth[:3, :3] = ", "(self._speed", ("0.0 * (self._speed", "2.0 * (self._speed")),
            ("growth[3:, 3:] = ", "min(self._turn", ("0.0 * min(self._turn", "2.0 * min(self._turn")),
            ("growth[3:, 3:] = ", ", np.pi)", (", 1e9)", ", 2.0 * np.pi)", ", 0.5 * np.pi)")),
            ("self.pose = PoseWithCovariance(", " + growth", ("", " + 2.0 * growth")),
            ("share = _LATEST_SHARE", "_LATEST_SHARE if self.moved else 1.0", ("1.0", "_LATEST_SHARE")),
            ("_LATEST_SHARE = ", "0.3", ("0.6", "0.0")),
            ("_UNKNOWN_SPEED = ", "1.0", ("0.0", "2.0")),
            ("_UNKNOWN_TURN_RATE = ", "0.5", ("0.0", "1.0")),
            ("_ORIGIN_VARIANCE = ", "1e-12", ("0.0", "2e-12")),
            ("covariance = symmetrised", " / interval**2", ("", " / interval")),
            ("covariance = symmetrised", "axes @ T_prev_curr", ("2.0 * axes @ T_prev_curr", "T_prev_curr")),
            ("variances = np.repeat", "linear_sigma**2", ("0.0", "2.0 * linear_sigma**2")),
            ("variances = np.repeat", "angular_sigma**2", ("0.0", "2.0 * angular_sigma**2")),
        ),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests on every mutant; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="only modules whose path contains this text")
    only: str = parser.parse_args(arguments).only
    noticed: Counter[bool] = Counter()
    for library in LIBRARIES:
        importlib.import_module(library)
    with tempfile.TemporaryDirectory(prefix="iup_pose_ros_mutants_") as folder:
        copy = Path(folder)
        _copy_sources(copy)
        for source in (source for source in SOURCES if only in source.module):
            if not _tests_pass(copy, source.tests):
                print(f"{source.module}: its tests fail without any change", flush=True)
                return 1
            for mutant in _mutants(source):
                failed = _is_noticed(copy, mutant, source.tests)
                noticed[failed] += 1
                if not failed:
                    change = f"{mutant.line!r}: {mutant.text!r} -> {mutant.replacement!r}"
                    print(f"SURVIVES {mutant.module}: {change}", flush=True)
            print(
                f"{source.module}: done, {noticed[True]} noticed, {noticed[False]} survive so far", flush=True
            )
    print(f"{noticed[True]} of {noticed.total()} mutants are noticed")
    return 1 if noticed[False] or not noticed else 0


def _copy_sources(folder: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
    for name in ("iup_pose_ros", "test", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)


def _mutants(source: Source) -> list[Mutant]:
    return [
        Mutant(source.module, line, text, replacement)
        for line, text, replacements in source.changes
        for replacement in replacements
    ]


def _is_noticed(folder: Path, mutant: Mutant, tests: Sequence[str]) -> bool:
    """Whether a test fails on the changed module, which is restored afterwards."""
    path = folder / "iup_pose_ros" / mutant.module
    original = path.read_text()
    path.write_text(mutated(original, mutant))
    try:
        return not _tests_pass(folder, tests)
    finally:
        path.write_text(original)


def mutated(source: str, mutant: Mutant) -> str:
    """Return the source text with the mutant's change.

    Raises:
        SystemExit: the place is not found exactly once; the mutant has to be adapted to the source.
    """
    lines = source.splitlines()
    places = [number for number, line in enumerate(lines) if mutant.line in line]
    if len(places) != 1 or lines[places[0]].count(mutant.text) != 1:
        raise SystemExit(
            f"{mutant.module}: {mutant.text!r} on a line with {mutant.line!r} is not found exactly once"
        )
    lines[places[0]] = lines[places[0]].replace(mutant.text, mutant.replacement)
    return "\n".join(lines) + "\n"


def _tests_pass(folder: Path, tests: Sequence[str]) -> bool:
    """Whether tests pass in a fork of this process, which has imported the libraries already."""
    log = folder / "pytest.log"
    process = multiprocessing.get_context("fork").Process(target=_run_tests, args=(folder, tests, log))
    process.start()
    process.join(TIMEOUT)
    if process.is_alive():
        process.kill()
        process.join()
        return False
    if process.exitcode not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        # A mutant may also break what a test module computes while it is imported.
        if process.exitcode == pytest.ExitCode.INTERRUPTED and "error during collection" in log.read_text():
            return False
        raise SystemExit(f"pytest ended with {process.exitcode}:\n{log.read_text()}")
    return process.exitcode == pytest.ExitCode.OK


def _run_tests(folder: Path, tests: Sequence[str], log: Path) -> None:
    with log.open("wb") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    os.chdir(folder)
    # Compiled modules of an earlier mutant would be taken for this one: same name, size and second.
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    package = importlib.import_module("iup_pose_ros")
    assert Path(str(package.__file__)).is_relative_to(folder), package.__file__
    options = ["-q", "-x", "--no-header", "--tb=short", "-p", "no:cacheprovider"]
    sys.exit(pytest.main([*options, *(f"test/{test}" for test in tests)]))


if __name__ == "__main__":
    sys.exit(main())
