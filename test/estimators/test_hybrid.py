from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from two_view_scenes import Scene, direction_angle, make_scene, random_pose, rotation_error, turned, unit

from iup_pose_ros.demo_scene.rendered_pair import random_pair, random_scene, warp_0_to_1
from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.base import EstimatorInfo
from iup_pose_ros.estimators.epipolar.epipolar_estimator import EpipolarEstimator
from iup_pose_ros.estimators.epipolar.solver import unit_relative_pose
from iup_pose_ros.estimators.hybrid import HybridConfig, HybridEstimator
from iup_pose_ros.estimators.matching.features import LucasKanadeFrontEnd
from iup_pose_ros.estimators.matching.guided_klt import GuidedTracker
from iup_pose_ros.estimators.network.prior import PosePrior
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.directions import tangent_basis
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.model.checkpoint import SigmaCalibration
from iup_pose_ros.types import Frame, Matches, RelativePose

PLAIN = EpipolarEstimator(LucasKanadeFrontEnd())
ATTENTION = np.full((6, 8), 0.5, dtype=np.float32)
NO_MATCHES = Matches(np.zeros((0, 2)), np.zeros((0, 2)))


@dataclass
class FakeNetwork:
    """Answers every pair with one prior."""

    answer: PosePrior
    info: EstimatorInfo = field(default=EstimatorInfo("network"))
    asked: list[tuple[Frame, Frame]] = field(default_factory=list)

    def prior(self, previous: Frame, current: Frame) -> PosePrior:
        self.asked.append((previous, current))
        return self.answer


def prior_of(pose: Pose, sigma_deg: float, coarse: Matches = NO_MATCHES) -> PosePrior:
    covariance = np.radians(sigma_deg) ** 2 * np.eye(5)
    relative = unit_relative_pose(pose, tangent_basis(pose.translation), covariance, "network")
    return PosePrior(coarse, np.ones(len(coarse)), ATTENTION, relative)


def rendered(regime: str, seed: int) -> tuple[Scene, Matches]:
    """A rendered pair, 480 x 360, and true matches of cells 16 pixels wide."""
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(0)
    textures = [rng.integers(0, 255, (64, 80, 3), dtype=np.uint8) for _ in range(4)]
    pair = random_pair(random_scene(textures, generator), generator, 480, 360, regime)
    fx, fy, cx, cy = (float(pair.K[0, i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    camera = Intrinsics(fx, fy, cx, cy, 480, 360)
    images = [
        np.ascontiguousarray((255.0 * image[0].permute(1, 2, 0)).round().byte().numpy())
        for image in (pair.image_0, pair.image_1)
    ]
    frames = [Frame(image, camera, float(i), "camera") for i, image in enumerate(images)]
    pose = Pose(pair.R_1_0[0].double().numpy(), pair.t_1_0[0].double().numpy()).inverse()
    goals = warp_0_to_1(pair.depth_0, pair.K, pair.R_1_0, pair.t_1_0)[0][0, 8::16, 8::16].double().numpy()
    x, y = np.meshgrid(np.arange(8.0, 480.0, 16.0), np.arange(8.0, 360.0, 16.0))
    cells = np.stack([x, y], axis=-1).reshape(-1, 2)
    truth = Pose(pose.rotation, unit(pose.translation))
    return Scene(frames[0], frames[1], NO_MATCHES, truth), Matches(cells, goals.reshape(-1, 2))


def spoilt(matches: Matches, error: float, smooth: bool, seed: int = 0) -> Matches:
    """Matches wrong by about ``error`` pixels, one in eight grossly; errors are noise, or alike nearby."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=matches.points_curr.shape)
    if smooth:
        noise = np.sqrt(2.0) * np.sin(matches.points_prev / 90.0 + rng.uniform(0.0, 6.0, 2))
    goals = matches.points_curr + error / np.sqrt(2.0) * noise
    wrong = rng.random(len(goals)) < 1 / 8
    goals[wrong] = rng.uniform([0.0, 0.0], [480.0, 360.0], (int(wrong.sum()), 2))
    return Matches(matches.points_prev, goals)


def angles(estimate: RelativePose, scene: Scene) -> tuple[float, float]:
    """Errors of rotation and direction in degrees."""
    rotation = float(np.linalg.norm(rotation_error(estimate, scene)))
    return float(np.degrees(rotation)), float(np.degrees(direction_angle(estimate, scene)))


@pytest.fixture(scope="module")
def wide() -> tuple[Scene, Matches]:
    return rendered("wide", 7)


@pytest.fixture(scope="module")
def video() -> tuple[Scene, Matches]:
    return rendered("video", 4)


@pytest.mark.parametrize(("error", "smooth"), [(6.0, False), (6.0, True), (15.0, False), (15.0, True)])
def test_rough_matches_lead_tracks_over_a_wide_baseline(wide, error: float, smooth: bool):
    scene, coarse = wide
    prior = prior_of(turned(scene.T_prev_curr, 5.0), 10.0, spoilt(coarse, error, smooth))
    found = HybridEstimator(FakeNetwork(prior)).estimate(scene.previous, scene.current)
    rotation, direction = angles(found, scene)
    assert rotation < 0.5
    assert direction < 2.0
    assert found.source == "hybrid"
    assert np.linalg.eigvalsh(found.covariance).min() > 0.0
    with pytest.raises(EstimationError):
        PLAIN.estimate(scene.previous, scene.current)


def test_a_network_that_is_wrong_about_everything_costs_nothing(video):
    scene, _ = video
    rng = np.random.default_rng(0)
    nonsense = Matches(*rng.uniform(0.0, 360.0, (2, 300, 2)))
    for sigma_deg in (1.0, 90.0):
        prior = prior_of(turned(random_pose(rng), 60.0), sigma_deg, nonsense)
        found = HybridEstimator(FakeNetwork(prior)).estimate(scene.previous, scene.current)
        rotation, direction = angles(found, scene)
        assert rotation < 0.3
        assert direction < 4.0


def test_the_same_input_gives_the_same_output(wide):
    scene, coarse = wide
    prior = prior_of(turned(scene.T_prev_curr, 5.0), 10.0, spoilt(coarse, 10.0, smooth=False))
    first, second = (
        HybridEstimator(FakeNetwork(prior)).estimate(scene.previous, scene.current) for _ in range(2)
    )
    np.testing.assert_array_equal(first.T_prev_curr.matrix, second.T_prev_curr.matrix)
    np.testing.assert_array_equal(first.covariance, second.covariance)


def test_the_network_stands_alone_where_nothing_can_be_tracked():
    scene = make_scene(np.random.default_rng(0), random_pose(np.random.default_rng(1)), count=1)
    network = FakeNetwork(prior_of(scene.T_prev_curr, 3.0))
    found = HybridEstimator(network).estimate(scene.previous, scene.current)
    np.testing.assert_array_equal(found.T_prev_curr.matrix, scene.T_prev_curr.matrix)
    np.testing.assert_array_equal(found.covariance, network.answer.pose.covariance)
    assert found.source == "hybrid"


class SilentNetwork:
    """A network without an answer."""

    info = EstimatorInfo("network")

    def prior(self, previous: Frame, current: Frame) -> PosePrior:
        raise EstimationError("image is too small")


def test_tracks_stand_alone_where_the_network_has_no_answer():
    scene = make_scene(np.random.default_rng(0), random_pose(np.random.default_rng(1)))
    estimator = HybridEstimator(SilentNetwork())
    found = estimator.estimate(scene.previous, scene.current, scene.matches)
    assert direction_angle(found, scene) < np.radians(2.0)
    assert found.source == "hybrid"
    with pytest.raises(EstimationError, match="too small"):
        estimator.estimate(scene.previous, scene.current)


def test_tracks_that_a_network_led_stand_alone_where_its_pose_has_no_answer(wide):
    scene, coarse = wide
    prior = PosePrior(spoilt(coarse, 6.0, smooth=False), np.ones(len(coarse)), ATTENTION, None)
    estimator = HybridEstimator(FakeNetwork(prior), config=HybridConfig(sure_rotation=0.0))
    found = estimator.estimate(scene.previous, scene.current)
    rotation, direction = angles(found, scene)
    assert rotation < 0.5
    assert direction < 2.0


def test_neither_tracks_nor_a_pose_is_an_error_that_says_so():
    scene = make_scene(np.random.default_rng(0), random_pose(np.random.default_rng(1)))
    estimator = HybridEstimator(FakeNetwork(PosePrior(NO_MATCHES, np.ones(0), ATTENTION, None)))
    with pytest.raises(EstimationError, match="no tracks agree on a motion, and the network"):
        estimator.estimate(scene.previous, scene.current)


def fitted(scene: Scene, prior: PosePrior) -> RelativePose:
    """The answer where the caller's matches are all there is: the images are blank."""
    return HybridEstimator(FakeNetwork(prior)).estimate(scene.previous, scene.current, scene.matches)


def test_given_matches_decide_against_a_network_that_contradicts_them():
    scene = make_scene(np.random.default_rng(0), random_pose(np.random.default_rng(1)), noise=0.2)
    alone = PLAIN.estimate(scene.previous, scene.current, scene.matches)
    found = fitted(scene, prior_of(turned(scene.T_prev_curr, 30.0), 1.0))
    assert np.allclose(found.T_prev_curr.matrix, alone.T_prev_curr.matrix, atol=1e-3)
    assert np.allclose(found.covariance, alone.covariance, rtol=0.2, atol=1e-6)


def test_a_few_given_matches_and_a_network_that_agrees_with_them_are_fused():
    rng = np.random.default_rng(0)
    scene = make_scene(rng, random_pose(np.random.default_rng(1)), count=25, baseline=0.1)
    alone = PLAIN.estimate(scene.previous, scene.current, scene.matches)
    found = fitted(scene, prior_of(scene.T_prev_curr, 2.0))
    assert alone.sigma_t > np.radians(10.0)
    assert found.sigma_t < np.radians(3.5)
    assert direction_angle(found, scene) < np.radians(2.0)
    assert direction_angle(found, scene) < direction_angle(alone, scene)


def test_tracks_that_decide_without_being_sure_stand_alone():
    scene = make_scene(np.random.default_rng(0), random_pose(np.random.default_rng(1)), baseline=0.02)
    alone = PLAIN.estimate(scene.previous, scene.current, scene.matches)
    found = fitted(scene, prior_of(turned(scene.T_prev_curr, 30.0), 1.0))
    np.testing.assert_allclose(found.T_prev_curr.matrix, alone.T_prev_curr.matrix, atol=1e-2)
    assert found.sigma_t == pytest.approx(alone.sigma_t, rel=0.2)
    assert found.sigma_t > np.radians(10.0)


@pytest.mark.parametrize("right", [0, 1])
def test_the_networks_matches_tell_which_of_two_motions_of_the_tracks_is_the_cameras(monkeypatch, right: int):
    rng = np.random.default_rng(0)
    scenes = [make_scene(rng, random_pose(rng), count, noise=0.2) for count in (70, 55)]
    tracks = scenes[0].matches.followed_by(scenes[1].matches)
    monkeypatch.setattr(GuidedTracker, "match", lambda *given: tracks)
    truth, other = scenes[right], scenes[1 - right]
    seen = make_scene(rng, truth.T_prev_curr, noise=1.0).matches
    # Either pose of the network can be right, or wrong by itself.
    for pose in (turned(truth.T_prev_curr, 0.1), other.T_prev_curr)[: 2 - right]:
        network = FakeNetwork(prior_of(pose, 2.0, seen))
        found = HybridEstimator(network).estimate(truth.previous, truth.current)
        assert max(angles(found, truth)) < 2.0


def test_a_vague_network_leaves_the_tracks_as_they_are():
    scene = make_scene(np.random.default_rng(0), random_pose(np.random.default_rng(1)))
    found = fitted(scene, prior_of(turned(scene.T_prev_curr, 30.0), 170.0))
    assert np.degrees(np.linalg.norm(rotation_error(found, scene))) < 0.3
    assert np.degrees(direction_angle(found, scene)) < 2.0


def test_few_matches_of_many_do_not_outvote_a_sure_network():
    rng = np.random.default_rng(3)
    scene = make_scene(rng, random_pose(rng), count=25, outliers=60)
    other = turned(scene.T_prev_curr, 40.0)
    found = fitted(scene, prior_of(other, 2.0))
    np.testing.assert_array_equal(found.T_prev_curr.matrix, other.matrix)
    assert np.degrees(np.linalg.norm(found.sigma_R)) > 20.0  # of the 40 degrees between both


def test_own_tracks_are_searched_for_where_the_given_ones_agree_on_nothing(wide):
    scene, coarse = wide
    wrong: Array = np.random.default_rng(0).uniform(0.0, 360.0, (2, 60, 2))
    prior = prior_of(turned(scene.T_prev_curr, 5.0), 10.0, coarse)
    network = FakeNetwork(prior)
    given = Matches(wrong[0], wrong[1])
    found = HybridEstimator(network).estimate(scene.previous, scene.current, given)
    rotation, direction = angles(found, scene)
    assert rotation < 0.5
    assert direction < 2.0
    assert len(network.asked) == 1


def test_temperatures_widen_what_tracks_say(video):
    scene, coarse = video
    prior = prior_of(turned(scene.T_prev_curr, 5.0), 10.0, coarse)
    plain, wider = (
        HybridEstimator(FakeNetwork(prior), temperatures).estimate(scene.previous, scene.current)
        for temperatures in (None, SigmaCalibration(rotation=3.0, direction=2.0))
    )
    np.testing.assert_allclose(wider.sigma_R, 3.0 * plain.sigma_R, rtol=0.05)
    assert wider.sigma_t == pytest.approx(2.0 * plain.sigma_t, rel=0.05)


def test_tracks_that_are_sure_need_no_network(video):
    scene, _ = video
    network = FakeNetwork(prior_of(turned(scene.T_prev_curr, 60.0), 1.0))
    found = HybridEstimator(network).estimate(scene.previous, scene.current)
    assert max(angles(found, scene)) < 3.0
    assert found.attention is None
    assert not network.asked


def test_where_the_network_is_asked_its_attention_is_passed_on(wide):
    scene, coarse = wide
    found = HybridEstimator(FakeNetwork(prior_of(scene.T_prev_curr, 10.0, coarse))).estimate(
        scene.previous, scene.current
    )
    assert found.attention is ATTENTION


def test_given_tracks_are_tracked_anew_where_they_decide(video):
    scene, coarse = video
    given = spoilt(coarse, 1.0, smooth=False)
    network = FakeNetwork(prior_of(turned(scene.T_prev_curr, 60.0), 1.0))
    found = HybridEstimator(network).estimate(scene.previous, scene.current, given)
    alone = PLAIN.estimate(scene.previous, scene.current, given)
    assert sum(angles(found, scene)) < 0.7 * sum(angles(alone, scene))
    assert np.all(found.sigma_R < alone.sigma_R)


def test_led_tracks_are_tracked_anew_where_they_decide(wide):
    scene, coarse = wide
    prior = prior_of(turned(scene.T_prev_curr, 5.0), 10.0, spoilt(coarse, 6.0, smooth=True))
    led = GuidedTracker().match(scene.previous, scene.current, prior.matches, prior.weights)
    once = PLAIN.estimate(scene.previous, scene.current, led)
    found = HybridEstimator(FakeNetwork(prior)).estimate(scene.previous, scene.current)
    assert sum(angles(found, scene)) < 0.9 * sum(angles(once, scene))
