"""Evaluation of estimators on folders of image pairs with known relative pose."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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

# Up to this relative difference, focal lengths are attributed to refocusing of one camera.
_REFOCUS_TOLERANCE = 0.02


def create_estimators(
    names: Iterable[str], network: NetworkOptions | None = None
) -> dict[str, RelativePoseEstimator]:
    """Create estimators by name (see estimators.registry).

    Args:
        names: names of estimators; white space around a name is ignored.
        network: options of the estimators that run the network.

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
    splits: Mapping[str, Sequence[str]] | None = None,
    change: Callable[[tuple[Frame, Frame], DataSetPair], tuple[Frame, Frame]] | None = None,
) -> PairsReport:
    """Run estimators on the same pairs and compute their errors.

    Args:
        sets: pairs by name of the set.
        estimators: estimators by name.
        max_pairs: maximum number of pairs per set, sampled at random; default: all.
        seed: random seed of the sampling.
        console: where to show a progress bar; default: none.
        splits: names of the sets of each split; default: no splits.
        change: returns the frames that the estimators get instead of those of a pair; default: the same.

    Raises:
        DataError: an image is missing or does not fit its camera.
    """
    chosen = {name: subsampled(pairs, max_pairs, seed) for name, pairs in sets.items()}
    results: dict[str, dict[str, list[PairResult]]] = {
        name: {set_name: [] for set_name in chosen} for name in estimators
    }
    total = sum(len(pairs) for pairs in chosen.values())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=console is None, transient=True) as progress:
        task = progress.add_task("", total=total)
        for set_name, pairs in chosen.items():
            progress.update(task, description=set_name)
            for pair in pairs:
                frames = load_frames(pair)
                if change is not None:
                    frames = change(frames, pair)
                for name, estimator in estimators.items():
                    results[name][set_name].append(evaluate_pair(estimator, frames, pair))
                progress.advance(task)
    return PairsReport(results, splits or {})


def evaluate_pair(
    estimator: RelativePoseEstimator, frames: tuple[Frame, Frame], pair: DataSetPair
) -> PairResult:
    """Measure run time and errors of an estimator on one pair; errors are those of ``T_1_0``."""
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
        inlier_probability=math.nan if estimate.inlier_probability is None else estimate.inlier_probability,
    )


def subsampled(pairs: Sequence[DataSetPair], max_pairs: int | None, seed: int) -> list[DataSetPair]:
    """Sample at most ``max_pairs`` pairs without replacement, keeping their order; None: all pairs."""
    if max_pairs is None or len(pairs) <= max_pairs:
        return list(pairs)
    rows = np.random.default_rng(seed).choice(len(pairs), size=max_pairs, replace=False)
    return [pairs[row] for row in np.sort(rows)]


def load_sets(folders: Iterable[Path]) -> dict[str, list[DataSetPair]]:
    """Load folders that hold a ``pairs.csv``; return the pairs by folder name.

    Raises:
        DataError: a folder has no pairs.csv or columns are missing, two folders have the same name, or no
            folder is given.
    """
    sets: dict[str, list[DataSetPair]] = {}
    for folder in folders:
        name = folder.resolve().name
        if name in sets:
            raise DataError(
                f"two folders are named {name!r} (the second one is {folder}); names of sets must be unique"
            )
        sets[name] = load_pairs_folder(folder)
    if not sets:
        raise DataError("no folder of pairs given; at least one folder with a pairs.csv is required")
    return sets


def splits_by_parent(folders: Iterable[Path]) -> dict[str, list[str]]:
    """Group sets by the name of the folder that contains theirs; empty if all are in the same one."""
    splits: dict[str, list[str]] = {}
    for folder in folders:
        path = folder.resolve()
        splits.setdefault(path.parent.name, []).append(path.name)
    return splits if len(splits) > 1 else {}


def scene_of(name: str) -> str:
    """Return the scene that a set shows, by the set's name: without ``_hard`` and without ``-P<number>``.

    Sets of one scene are left out together, where something is fitted to other sets.
    """
    return re.sub(r"-P\d+$", "", name.removesuffix("_hard"))


def by_name(pairs: Iterable[DataSetPair]) -> dict[str, list[DataSetPair]]:
    """Group pairs into sets by their name."""
    sets: dict[str, list[DataSetPair]] = {}
    for pair in pairs:
        sets.setdefault(pair.name, []).append(pair)
    return sets


def load_frames(pair: DataSetPair) -> tuple[Frame, Frame]:
    """Load the images of a pair; the frame ids tell whether they are from the same camera.

    Raises:
        DataError: an image is missing or its size differs from that of the intrinsics.
    """
    first, second = (image.load() for image in pair.images)
    same_size = first.image.shape[:2] == second.image.shape[:2]
    refocus = abs(first.intrinsics.fx / second.intrinsics.fx - 1.0)
    second_camera = "camera" if same_size and refocus < _REFOCUS_TOLERANCE else "other_camera"
    return (
        Frame(first.image, first.intrinsics, 0.0, "camera"),
        Frame(second.image, second.intrinsics, 1.0, second_camera),
    )
