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
from iup_pose_ros.weights import SHIPPED_WEIGHTS

FittedModel = Mapping[str, Mapping[str, float]]


def calibrate_weights(
    weights: Path,
    sets: Mapping[str, Sequence[DataSetPair]],
    output: Path,
    console: Console,
    max_pairs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    second: bool = False,
) -> PairsReport:
    """Fit the inlier model and the sigma calibrations of a weights file and store them in ``output``.

    Args:
        weights: weights file to calibrate; its calibrations are ignored.
        sets: pairs by set, of at least two scenes that were not used for training.
        output: weights file to write; may be the same file.
        console: console of the progress bar.
        max_pairs, seed: see ``evaluation.pairs.evaluate.evaluate_on``.
        device: device of the network.
        second: whether the file is for the second network of the estimator ``hybrid`` beside the shipped one.

    Returns:
        Results of each set with the inlier model fitted to other scenes, without sigma calibration.

    Raises:
        CheckpointError: the weights cannot be loaded or written.
        DataError: an image is missing, there are too few pairs, or all are of one scene.
    """
    if len({scene_of(name) for name in sets}) < 2:
        raise DataError(f"pairs of at least two scenes are required; given: {', '.join(sets)}")
    model, info = load_checkpoint(weights)
    calibrated = _Estimators(model, load_checkpoint(SHIPPED_WEIGHTS)[0] if second else None, device)
    chosen = {name: subsampled(pairs, max_pairs, seed) for name, pairs in sets.items()}
    _, hybrid = calibrated.create({})
    examples: dict[str, list[Example]] = {}
    with progress_bar(console, "candidate poses") as advance:
        for name, pairs in chosen.items():
            examples[name] = []
            for pair in pairs:
                examples[name] += candidate_examples(hybrid, load_frames(pair), pair)
                advance(sum(map(len, chosen.values())))
    report = _cross_validate(chosen, examples, calibrated, console)
    new_info = replace(
        info,
        network_calibration=fit_sigma_calibration(set_errors(report, "iup_pose")),
        hybrid_calibration=fit_sigma_calibration(set_errors(report, "hybrid")),
        inlier_model=calibrated.stored(fit_inlier_model(examples.values())),
    )
    save_checkpoint(model, new_info, output)
    return report


class _Estimators:
    """The estimators that use a network under calibration.

    Args:
        model: network under calibration.
        first: first network of ``hybrid``, if ``model`` is its second one.
        device: device of the networks.
    """

    def __init__(self, model: IUPPose, first: IUPPose | None, device: str) -> None:
        self._model = model
        self._first = first
        self._device = device

    def create(self, fitted: FittedModel) -> tuple[IUPPoseEstimator, HybridEstimator]:
        """Create ``iup_pose`` and ``hybrid`` with a fitted inlier model."""
        alone = InlierModel(self.stored(fitted))
        network = IUPPoseEstimator(self._model, device=self._device, inlier_model=alone)
        if self._first is None:
            return network, HybridEstimator(network, inlier_model=alone)
        first = IUPPoseEstimator(self._first, device=self._device)
        return network, HybridEstimator(first, inlier_model=InlierModel(fitted), second_network=network)

    def stored(self, fitted: FittedModel) -> FittedModel:
        """Return the part of a fitted inlier model that belongs into the weights file."""
        if self._first is None:
            return fitted
        of_hybrid = {kinds: weights for kinds, weights in fitted.items() if kinds.endswith(" second_network")}
        return {**of_hybrid, "network": fitted.get("second_network", {})}


def _cross_validate(
    sets: Mapping[str, Sequence[DataSetPair]],
    examples: Mapping[str, Sequence[Example]],
    calibrated: _Estimators,
    console: Console,
) -> PairsReport:
    """Evaluate each set with the inlier model fitted to the examples of other scenes."""
    results: dict[str, dict[str, Sequence[PairResult]]] = {"iup_pose": {}, "hybrid": {}}
    for name, pairs in sets.items():
        others = [found for other, found in examples.items() if scene_of(other) != scene_of(name)]
        network, hybrid = calibrated.create(fit_inlier_model(others))
        report = evaluate_on({name: pairs}, {network.name: network, hybrid.name: hybrid}, console=console)
        for estimator, of_sets in report.results.items():
            results[estimator].update(of_sets)
    return PairsReport(results)
