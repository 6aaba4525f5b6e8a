"""The fit of the inlier model recovers the weights by which examples were drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from iup_pose_ros.datasets.image_pair import DataSetImage, DataSetPair
from iup_pose_ros.estimators.base import EstimatorInfo
from iup_pose_ros.estimators.hybrid import HybridEstimator
from iup_pose_ros.estimators.matching.probed_klt import ProbedLucasKanadeFrontEnd
from iup_pose_ros.estimators.network.network_matches import NetworkMatches
from iup_pose_ros.evaluation.pairs.fit_inlier_model import Example, candidate_examples, fit_inlier_model
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.types import Frame, Matches

WEIGHTS = {"constant": -2.0, "sift count": 1.5, "sift share": -3.0}


def drawn(weights: dict[str, float], count: int, seed: int, kinds: str = "tracks sift") -> list[Example]:
    """Examples that are inliers with the probability of the weights."""
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        features = {
            "constant": 1.0,
            "sift count": float(rng.uniform(0.0, 6.0)),
            "sift share": float(rng.uniform()),
        }
        logit = sum(weights[name] * value for name, value in features.items())
        examples.append(Example(kinds, features, bool(rng.random() < expit(logit))))
    return examples


def test_known_weights_are_recovered() -> None:
    found = fit_inlier_model([drawn(WEIGHTS, 10_000, seed) for seed in (0, 1)])
    assert set(found) == {"tracks sift"}
    assert found["tracks sift"] == pytest.approx(WEIGHTS, abs=0.25)


def test_kinds_of_matches_have_weights_of_their_own() -> None:
    others = {"constant": 1.0, "sift count": -1.0, "sift share": 2.0}
    examples = drawn(WEIGHTS, 10_000, 0) + drawn(others, 10_000, 1, "tracks network sift")
    found = fit_inlier_model([examples])
    assert found["tracks sift"] == pytest.approx(WEIGHTS, abs=0.35)
    assert found["tracks network sift"] == pytest.approx(others, abs=0.35)


def test_every_set_counts_once_however_large() -> None:
    """Two sets contradict each other: the constant is what both together say of an inlier's share."""

    def constant(is_inlier: bool, count: int) -> list[Example]:
        return [Example("tracks", {"constant": 1.0}, is_inlier)] * count

    for large in (10, 1000):
        found = fit_inlier_model([constant(True, large), constant(False, 10)])
        assert found["tracks"]["constant"] == pytest.approx(0.0, abs=1e-3)


def test_separable_examples_have_finite_weights_that_separate_them() -> None:
    features = [{"constant": 1.0, "sift count": float(value)} for value in range(8)]
    found = fit_inlier_model([[Example("sift", feature, feature["sift count"] > 3) for feature in features]])
    logits = [found["sift"]["constant"] + found["sift"]["sift count"] * value for value in range(8)]
    assert all(np.isfinite(logits))
    assert all((logit > 0.0) == (value > 3) for value, logit in enumerate(logits))


def test_a_feature_that_some_examples_lack_counts_as_zero_there() -> None:
    rng = np.random.default_rng(0)
    examples = []
    for is_sift in rng.random(4000) < 0.5:
        features = {"constant": 1.0, ("from sift" if is_sift else "from tracks"): 1.0}
        examples.append(Example("tracks sift", features, bool(rng.random() < (0.9 if is_sift else 0.3))))
    found = fit_inlier_model([examples])["tracks sift"]
    assert expit(found["constant"] + found["from sift"]) == pytest.approx(0.9, abs=0.03)
    assert expit(found["constant"] + found["from tracks"]) == pytest.approx(0.3, abs=0.03)


CAMERA = Intrinsics(300.0, 300.0, 159.5, 119.5, 320, 240)
T_PREV_CURR = Pose(so3.exp(np.array([0.02, -0.08, 0.03])), np.array([0.8, 0.0, 0.6]))


def matches_of(T_prev_curr: Pose, count: int, seed: int) -> Matches:
    """Exact matches of points 3 to 10 step lengths away."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform([60.0, 60.0], [260.0, 180.0], (count, 2))
    points = CAMERA.rays(pixels) * rng.uniform(3.0, 10.0, (count, 1))
    return Matches(pixels, CAMERA.project(T_prev_curr.inverse().apply(points)))


class FakeNetwork:
    """Finds matches of another motion than the camera's."""

    info = EstimatorInfo("network")

    def match(self, previous: Frame, current: Frame) -> NetworkMatches:
        wrong = Pose(so3.exp(np.array([0.0, 0.3, 0.0])) @ T_PREV_CURR.rotation, T_PREV_CURR.translation)
        return NetworkMatches(matches_of(wrong, 40, 1), np.ones(40), None)


def test_every_candidate_after_every_kind_of_matches_is_an_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracks give the right pose, the network a wrong one; blank images give no guided tracks and no SIFT."""
    monkeypatch.setattr(ProbedLucasKanadeFrontEnd, "match", lambda *_: matches_of(T_PREV_CURR, 60, 0))
    previous, current = (Frame(np.zeros((240, 320), np.uint8), CAMERA, stamp, "eye") for stamp in (0.0, 1.0))
    image = DataSetImage(Path("unused.png"), CAMERA.matrix)
    pair = DataSetPair((image, image), T_PREV_CURR.inverse(), metric=False)
    examples = candidate_examples(HybridEstimator(FakeNetwork()), (previous, current), pair)
    labels = [(example.kinds, "from tracks" in example.features, example.is_inlier) for example in examples]
    assert labels == [
        ("tracks", True, True),
        ("tracks network", True, True),
        ("tracks network", False, False),
        ("network", False, False),
        ("tracks network guided", True, True),
        ("tracks network guided", False, False),
        ("tracks network guided sift", True, True),
        ("tracks network guided sift", False, False),
    ]
    alone = next(example for example in examples if example.kinds == "network")
    assert alone.features["network own count"] == pytest.approx(np.log(41.0))
    assert not any(name.startswith("tracks") for name in alone.features)
