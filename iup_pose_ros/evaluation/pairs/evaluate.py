"""Evaluation of estimators on folders of image pairs with known relative pose."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from iup_pose_ros.datasets.image_pair import DataSetPair
from iup_pose_ros.datasets.pairs_folder import load_pairs_folder
from iup_pose_ros.errors import DataError, EstimationError
from iup_pose_ros.estimators.base import RelativePoseEstimator
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.estimators.registry import create_estimator
from iup_pose_ros.evaluation.metrics.pair_errors import direction_error_deg, rotation_error_deg
from iup_pose_ros.evaluation.pairs.report import PairResult, PairsReport
from iup_pose_ros.geometry.pose import PoseWithCovariance
from iup_pose_ros.types import Frame

# Focal lengths that differ by less may be those of one camera whose lens has been focused anew.
_REFOCUSED = 0.02


def create_estimators(
    names: Iterable[str], network: NetworkOptions | None = None
) -> dict[str, RelativePoseEstimator]:
    """Estimators by name (estimators.registry); ``network`` is for those that run the network.

    Raises:
        ConfigurationError: an estimator is unknown.
        CheckpointError: the network's weights are missing or not acceptable.
    """
    stripped = dict.fromkeys(name.strip() for name in names)
    return {name: create_estimator(name, network) for name in stripped}


def evaluate_on(
    sets: Mapping[str, Sequence[DataSetPair]],
    estimators: Mapping[str, RelativePoseEstimator],
    max_pairs: int | None = None,
    seed: int = 0,
    console: Console | None = None,
) -> PairsReport:
    """Run estimators on the same pairs and compare them with the truth.

    Args:
        sets: pairs by the name of their set.
        estimators: by name.
        max_pairs: most pairs of every set, drawn at random; all by default.
        seed: of the drawing.
        console: where a progress bar is shown; none by default.

    Raises:
        DataError: an image is missing or does not fit its camera.
    """
    chosen = {name: subsampled(pairs, max_pairs, seed) for name, pairs in sets.items()}
    results: dict[str, dict[str, list[PairResult]]] = {
        name: {set_name: [] for set_name in chosen} for name in estimators
    }
    total = sum(len(pairs) for pairs in chosen.values())
    with _progress(console) as progress:
        task = progress.add_task("", total=total)
        for set_name, pairs in chosen.items():
            progress.update(task, description=set_name)
            for pair in pairs:
                frames = _frames(pair)
                for name, estimator in estimators.items():
                    results[name][set_name].append(evaluate_pair(estimator, frames, pair))
                progress.advance(task)
    return PairsReport(results)


def evaluate_pair(
    estimator: RelativePoseEstimator, frames: tuple[Frame, Frame], pair: DataSetPair
) -> PairResult:
    """Time and error of one estimator on one pair; direction errors are those of T_1_0."""
    begin = time.perf_counter()
    try:
        estimate = estimator.estimate(*frames)
    except EstimationError as failure:
        return PairResult.failed(pair.T_1_0.inverse(), 1e3 * (time.perf_counter() - begin), str(failure))
    milliseconds = 1e3 * (time.perf_counter() - begin)
    T_1_0 = estimate.T_prev_curr.inverse()
    return PairResult(
        reference=pair.T_1_0.inverse(),
        milliseconds=milliseconds,
        rotation_deg=rotation_error_deg(T_1_0, pair.T_1_0),
        direction_deg=direction_error_deg(T_1_0, pair.T_1_0),
        estimate=PoseWithCovariance(estimate.T_prev_curr, estimate.covariance),
    )


def subsampled(pairs: Sequence[DataSetPair], max_pairs: int | None, seed: int) -> list[DataSetPair]:
    """At most ``max_pairs`` pairs in their order, drawn without replacement; all where it is None."""
    if max_pairs is None or len(pairs) <= max_pairs:
        return list(pairs)
    rows = np.random.default_rng(seed).choice(len(pairs), size=max_pairs, replace=False)
    return [pairs[row] for row in np.sort(rows)]


def load_sets(folders: Iterable[Path]) -> dict[str, list[DataSetPair]]:
    """Pairs of folders with a ``pairs.csv``; the folder's name is the set's.

    Raises:
        DataError: a folder lacks pairs.csv or columns, two have the same name, or there is none.
    """
    sets: dict[str, list[DataSetPair]] = {}
    for folder in folders:
        name = folder.resolve().name
        if name in sets:
            raise DataError(
                f"two folders are named {name!r} ({folder} is the second): give each set its name"
            )
        sets[name] = load_pairs_folder(folder)
    if not sets:
        raise DataError("no folder of pairs given; at least one with a pairs.csv is needed")
    return sets


def by_name(pairs: Iterable[DataSetPair]) -> dict[str, list[DataSetPair]]:
    """Pairs in sets by the name that each carries."""
    sets: dict[str, list[DataSetPair]] = {}
    for pair in pairs:
        sets.setdefault(pair.name, []).append(pair)
    return sets


def _frames(pair: DataSetPair) -> tuple[Frame, Frame]:
    first, second = (image.load() for image in pair.images)
    sizes = [(image.intrinsics.width, image.intrinsics.height) for image in (first, second)]
    is_refocused = abs(first.intrinsics.fx / second.intrinsics.fx - 1.0) >= _REFOCUSED
    other = "camera" if sizes[0] == sizes[1] and not is_refocused else "other_camera"
    return (
        Frame(first.image, first.intrinsics, 0.0, "camera"),
        Frame(second.image, second.intrinsics, 1.0, other),
    )


def _progress(console: Console | None) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=console is None, transient=True)
