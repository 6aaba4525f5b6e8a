"""Calibration of a weights file on image pairs with ground truth: inlier model and sigma calibrations.

The errors for the sigma calibration depend on the inlier model, which decides which pose the hybrid estimator
returns. Therefore each set is evaluated with an inlier model fitted to sets of other scenes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from iup_pose_ros.datasets.image_pair import DataSetPair
from iup_pose_ros.errors import DataError
from iup_pose_ros.estimators.hybrid import HybridEstimator
from iup_pose_ros.estimators.network.iup_pose_estimator import IUPPoseEstimator
from iup_pose_ros.estimators.pose_evidence import InlierModel
from iup_pose_ros.evaluation.pairs.evaluate import evaluate_on, load_frames, scene_of, subsampled
from iup_pose_ros.evaluation.pairs.fit_inlier_model import Example, candidate_examples, fit_inlier_model
from iup_pose_ros.evaluation.pairs.fit_sigma_calibration import fit_sigma_calibration, set_errors
from iup_pose_ros.evaluation.pairs.report import PairResult, PairsReport
from iup_pose_ros.model.checkpoint import load_checkpoint, save_checkpoint
from iup_pose_ros.model.iup_pose import IUPPose
from iup_pose_ros.progress import progress_bar


def calibrate_weights(
    weights: Path,
    sets: Mapping[str, Sequence[DataSetPair]],
    output: Path,
    console: Console,
    max_pairs: int | None = None,
    seed: int = 0,
    device: str = "auto",
) -> PairsReport:
    """Fit the inlier model and the sigma calibrations of a weights file and store them in ``output``.

    Args:
        weights: weights file to calibrate; its calibrations are ignored.
        sets: pairs by set, of at least two scenes that were not used for training.
        output: weights file to write; may be the same file.
        console: console of the progress bar.
        max_pairs, seed: see ``evaluation.pairs.evaluate.evaluate_on``.
        device: device of the network.

    Returns:
        Results of each set with the inlier model fitted to other scenes, without sigma calibration.

    Raises:
        CheckpointError: the weights cannot be loaded or written.
        DataError: an image is missing, there are too few pairs, or all are of one scene.
    """
    if len({scene_of(name) for name in sets}) < 2:
        raise DataError(f"pairs of at least two scenes are required; given: {', '.join(sets)}")
    model, info = load_checkpoint(weights)
    chosen = {name: subsampled(pairs, max_pairs, seed) for name, pairs in sets.items()}
    hybrid = HybridEstimator(IUPPoseEstimator(model, device=device))
    examples: dict[str, list[Example]] = {}
    with progress_bar(console, "candidate poses") as advance:
        for name, pairs in chosen.items():
            examples[name] = []
            for pair in pairs:
                examples[name] += candidate_examples(hybrid, load_frames(pair), pair)
                advance(sum(map(len, chosen.values())))
    report = _cross_validate(chosen, examples, model, device, console)
    calibrated = replace(
        info,
        network_calibration=fit_sigma_calibration(set_errors(report, "iup_pose")),
        hybrid_calibration=fit_sigma_calibration(set_errors(report, "hybrid")),
        inlier_model=fit_inlier_model(examples.values()),
    )
    save_checkpoint(model, calibrated, output)
    return report


def _cross_validate(
    sets: Mapping[str, Sequence[DataSetPair]],
    examples: Mapping[str, Sequence[Example]],
    model: IUPPose,
    device: str,
    console: Console,
) -> PairsReport:
    """Evaluate each set with the inlier model fitted to the examples of other scenes."""
    results: dict[str, dict[str, Sequence[PairResult]]] = {"iup_pose": {}, "hybrid": {}}
    for name, pairs in sets.items():
        others = [found for other, found in examples.items() if scene_of(other) != scene_of(name)]
        inlier_model = InlierModel(fit_inlier_model(others))
        network = IUPPoseEstimator(model, device=device, inlier_model=inlier_model)
        hybrid = HybridEstimator(network, inlier_model=inlier_model)
        report = evaluate_on({name: pairs}, {network.name: network, hybrid.name: hybrid}, console=console)
        for estimator, of_sets in report.results.items():
            results[estimator].update(of_sets)
    return PairsReport(results)
