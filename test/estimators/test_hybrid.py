from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hybrid_scenes import (
    ATTENTION,
    NO_MATCHES,
    FailingNetwork,
    FakeNetwork,
    angles,
    disturbed,
    rendered,
    synthetic,
    unrelated_matches,
)
from two_view_scenes import Scene, direction_angle, make_scene, random_pose, turned

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.epipolar.epipolar_estimator import EpipolarEstimator
from iup_pose_ros.estimators.hybrid import HybridConfig, HybridEstimator
from iup_pose_ros.estimators.matching.features import LucasKanadeFrontEnd, SiftFrontEnd
from iup_pose_ros.estimators.matching.guided_klt import GuidedTracker
from iup_pose_ros.estimators.pose_evidence import InlierModel
from iup_pose_ros.geometry import so3
from iup_pose_ros.model.checkpoint import SigmaCalibration
from iup_pose_ros.types import Frame, Matches

PLAIN = EpipolarEstimator(LucasKanadeFrontEnd())
ALWAYS = HybridConfig(always_ask=True)


@pytest.fixture
def without_sift(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SiftFrontEnd, "match", lambda *_: NO_MATCHES)


@pytest.fixture(scope="module")
def wide() -> tuple[Scene, Matches]:
    return rendered("wide", 7)


@pytest.fixture(scope="module")
def video() -> tuple[Scene, Matches]:
    return rendered("video", 4)


# Which kinds of matches are searched for, and when the search ends


@pytest.mark.parametrize(
    ("network", "kinds"),
    [
        (
            FakeNetwork(),
            ["tracks", "tracks network", "tracks network guided", "tracks network guided sift"],
        ),
        (FailingNetwork(), ["tracks", "tracks sift"]),
    ],
)
def test_kinds_of_matches_come_in_order_of_their_cost(
    network: FakeNetwork | FailingNetwork, kinds: Sequence[str]
) -> None:
    scene = synthetic()
    stages = HybridEstimator(network).stages(scene.previous, scene.current, scene.matches)
    assert [stage.evidence.kinds for stage in stages] == kinds


def test_tracks_that_leave_little_open_need_no_network(video: tuple[Scene, Matches]) -> None:
    scene, _ = video
    network = FakeNetwork(unrelated_matches(300))
    found = HybridEstimator(network).estimate(scene.previous, scene.current)
    assert max(angles(found, scene)) < 3.0
    assert found.attention is None
    assert network.asked == 0


def test_the_network_is_asked_where_tracks_leave_the_direction_open() -> None:
    tracks, keypoints = synthetic(baseline=0.02), synthetic(count=150, noise=0.2, seed=2)
    assert PLAIN.estimate(tracks.previous, tracks.current, tracks.matches).sigma_t > np.radians(15.0)
    network = FakeNetwork(keypoints.matches)
    found = HybridEstimator(network).estimate(tracks.previous, tracks.current, tracks.matches)
    assert network.asked == 1
    assert found.attention is ATTENTION
    assert max(angles(found, tracks)) < 3.0


def test_the_network_is_asked_where_the_pose_of_the_tracks_is_not_probable_enough() -> None:
    scene, network = synthetic(), FakeNetwork()
    doubtful = InlierModel({"tracks": {"constant": float(np.log(0.88 / 0.12))}})
    HybridEstimator(network, inlier_model=doubtful).estimate(scene.previous, scene.current, scene.matches)
    assert network.asked == 1


def test_sift_is_not_asked_where_the_networks_matches_make_a_pose_probable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Frame] = []
    monkeypatch.setattr(SiftFrontEnd, "match", lambda _, previous, current: asked.append(current))
    scene = synthetic()
    found = HybridEstimator(FakeNetwork(scene.matches)).estimate(scene.previous, scene.current)
    assert max(angles(found, scene)) < 2.0
    assert asked == []


def test_an_always_asked_network_counts_where_tracks_decide_and_does_no_harm(
    video: tuple[Scene, Matches],
) -> None:
    scene, cells = video
    alone = HybridEstimator(FakeNetwork()).estimate(scene.previous, scene.current)
    network = FakeNetwork(disturbed(cells, 1.0, smooth=False))
    found = HybridEstimator(network, config=ALWAYS).estimate(scene.previous, scene.current)
    assert network.asked == 1
    assert found.attention is ATTENTION
    assert sum(angles(found, scene)) < 1.2 * sum(angles(alone, scene)) + 0.1


# Which pose is chosen


def test_network_matches_that_are_all_wrong_do_not_decide(video: tuple[Scene, Matches]) -> None:
    scene, _ = video
    network = FakeNetwork(unrelated_matches(300))
    found = HybridEstimator(network, config=ALWAYS).estimate(scene.previous, scene.current)
    rotation, direction = angles(found, scene)
    assert rotation < 0.3
    assert direction < 4.0


@pytest.mark.usefixtures("without_sift")
def test_network_matches_of_another_motion_do_not_decide_against_more_tracks() -> None:
    scene = synthetic(count=150)
    other = make_scene(np.random.default_rng(3), turned(scene.T_prev_curr, 30.0), 60, noise=0.2)
    estimator = HybridEstimator(FakeNetwork(other.matches), config=ALWAYS)
    found = estimator.estimate(scene.previous, scene.current, scene.matches)
    assert max(angles(found, scene)) < 2.0


def test_wrong_guided_tracks_that_agree_with_each_other_are_outvoted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tracks that a wrong guess started verify this guess; two other kinds of matches contradict them."""
    scene, features = synthetic(count=45, noise=1.0), synthetic(count=45, noise=0.5, seed=5)
    wrong = make_scene(np.random.default_rng(3), turned(scene.T_prev_curr, 40.0), 90, noise=0.2)
    monkeypatch.setattr(GuidedTracker, "match", lambda *_: wrong.matches)
    monkeypatch.setattr(SiftFrontEnd, "match", lambda *_: features.matches)
    estimator = HybridEstimator(FakeNetwork(scene.matches))
    *_, last = estimator.stages(scene.previous, scene.current)
    guided = [candidate for candidate in last.candidates if candidate.kind == "guided"]
    assert max(candidate.result.inliers for candidate in guided) > 80
    found = estimator.estimate(scene.previous, scene.current)
    rotation, direction = angles(found, scene)
    assert rotation < 2.0
    assert direction < 6.0


def test_sift_decides_where_neither_tracks_nor_the_network_find_a_pose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = synthetic()
    monkeypatch.setattr(SiftFrontEnd, "match", lambda *_: scene.matches)
    for network in (FakeNetwork(unrelated_matches(100)), FailingNetwork()):
        found = HybridEstimator(network).estimate(scene.previous, scene.current)
        assert max(angles(found, scene)) < 2.0


def test_the_network_decides_on_images_in_which_nothing_can_be_tracked() -> None:
    scene = synthetic(noise=0.5)
    found = HybridEstimator(FakeNetwork(scene.matches)).estimate(scene.previous, scene.current)
    assert max(angles(found, scene)) < 3.0
    assert found.source == "hybrid"
    assert np.linalg.eigvalsh(found.covariance).min() > 0.0


def test_tracks_decide_where_the_network_fails() -> None:
    scene = synthetic(baseline=0.05)
    found = HybridEstimator(FailingNetwork()).estimate(scene.previous, scene.current, scene.matches)
    alone = PLAIN.estimate(scene.previous, scene.current, scene.matches)
    assert direction_angle(found, scene) < 1.5 * direction_angle(alone, scene) + np.radians(1.0)
    assert found.source == "hybrid"
    assert found.attention is None


def test_own_matches_are_searched_for_where_the_given_ones_agree_on_nothing(
    wide: tuple[Scene, Matches],
) -> None:
    scene, cells = wide
    network = FakeNetwork(cells)
    found = HybridEstimator(network).estimate(scene.previous, scene.current, unrelated_matches(60))
    rotation, direction = angles(found, scene)
    assert rotation < 0.5
    assert direction < 2.0
    assert network.asked == 1


# The second network


def test_the_second_network_is_asked_last_and_finds_what_all_else_does_not() -> None:
    scene = synthetic()
    second = FakeNetwork(scene.matches)
    estimator = HybridEstimator(FakeNetwork(unrelated_matches(30)), second_network=second)
    kinds = [stage.evidence.kinds for stage in estimator.stages(scene.previous, scene.current)]
    assert kinds[-1] == "tracks network guided sift second_network"
    found = estimator.estimate(scene.previous, scene.current)
    assert second.asked == 2
    assert max(angles(found, scene)) < 1.0


def test_the_second_network_is_not_asked_where_tracks_connect_the_images() -> None:
    scene = synthetic()
    second = FakeNetwork(scene.matches)
    estimator = HybridEstimator(FakeNetwork(unrelated_matches(30)), second_network=second)
    with pytest.raises(EstimationError, match="no pose was found"):
        estimator.estimate(scene.previous, scene.current, unrelated_matches(40))
    assert second.asked == 0


@pytest.mark.usefixtures("without_sift")
def test_the_second_network_is_not_asked_where_the_pose_is_probable(wide: tuple[Scene, Matches]) -> None:
    scene, truth = wide
    second = FakeNetwork(truth)
    HybridEstimator(FakeNetwork(truth), second_network=second).estimate(scene.previous, scene.current)
    assert second.asked == 0


@pytest.mark.usefixtures("without_sift")
@pytest.mark.parametrize("known_by", ["tracks", "network"])
def test_matches_that_are_fixed_in_the_image_do_not_decide(known_by: str) -> None:
    """Half of the matches are on drops; without those of the network the tracks alone show the motion."""
    scene = synthetic(count=80)
    points = np.random.default_rng(4).uniform([0.0, 0.0], [640.0, 240.0], (120, 2))
    drops = Matches(points, points + 0.1)
    moving = scene.matches if known_by == "tracks" else NO_MATCHES
    network = FakeNetwork(NO_MATCHES if known_by == "tracks" else scene.matches)
    estimator = HybridEstimator(network)
    found = estimator.estimate(scene.previous, scene.current, drops.followed_by(moving))
    assert max(angles(found, scene)) < 3.0
    *_, last = estimator.stages(scene.previous, scene.current, drops.followed_by(moving))
    assert len(last.evidence.matches["tracks"]) < len(moving) + 10


@pytest.mark.usefixtures("without_sift")
def test_an_object_before_a_resting_camera_does_not_decide() -> None:
    scene = synthetic(count=300)
    column, row = scene.matches.points_prev.T
    person = scene.matches.chosen((column < 320.0) & (row > 120.0))
    points = np.random.default_rng(4).uniform([0.0, 0.0], [640.0, 480.0], (120, 2))
    tracks = Matches(points, points + 0.1).followed_by(person)
    network = FakeNetwork()
    found = HybridEstimator(network).estimate(scene.previous, scene.current, tracks)
    assert network.asked == 1
    assert np.degrees(so3.angle(found.T_prev_curr.rotation)) < 0.5


# No pose rather than a wrong one


def test_matches_that_agree_on_no_pose_are_an_error_that_counts_them() -> None:
    scene = synthetic()
    estimator = HybridEstimator(FakeNetwork(unrelated_matches(30)))
    message = "no pose was found from 0 tracks, 30 network matches, 0 guided tracks, 0 SIFT matches"
    with pytest.raises(EstimationError, match=message):
        estimator.estimate(scene.previous, scene.current)
    with pytest.raises(EstimationError, match="no pose was found from 0 tracks, 0 SIFT matches"):
        HybridEstimator(FailingNetwork()).estimate(scene.previous, scene.current)


def test_a_pose_that_is_probably_wrong_is_an_error() -> None:
    scene = synthetic()
    stages = HybridEstimator(FakeNetwork()).stages(scene.previous, scene.current)
    improbable = {stage.evidence.kinds: {"constant": float(np.log(0.15 / 0.85))} for stage in stages}
    estimator = HybridEstimator(FakeNetwork(), inlier_model=InlierModel(improbable), config=ALWAYS)
    with pytest.raises(EstimationError, match=r"a probability of 0\.15, the minimum is"):
        estimator.estimate(scene.previous, scene.current, scene.matches)


def test_the_probability_of_the_chosen_pose_is_passed_on() -> None:
    scene = synthetic()
    likely = InlierModel({"tracks": {"constant": float(np.log(0.92 / 0.08))}})
    estimator = HybridEstimator(FakeNetwork(), inlier_model=likely)
    found = estimator.estimate(scene.previous, scene.current, scene.matches)
    assert found.inlier_probability == pytest.approx(0.92)


# How exact the chosen pose is


@pytest.mark.usefixtures("without_sift")
@pytest.mark.parametrize(("error", "smooth"), [(1.5, False), (3.0, True), (6.0, False), (15.0, False)])
def test_rough_matches_start_exact_tracks_over_a_wide_baseline(
    wide: tuple[Scene, Matches], error: float, smooth: bool
) -> None:
    scene, cells = wide
    network = FakeNetwork(disturbed(cells, error, smooth))
    found = HybridEstimator(network).estimate(scene.previous, scene.current)
    rotation, direction = angles(found, scene)
    assert rotation < 0.5
    assert direction < 2.0
    with pytest.raises(EstimationError):
        PLAIN.estimate(scene.previous, scene.current)


def test_tracks_that_decide_are_tracked_anew(video: tuple[Scene, Matches]) -> None:
    scene, cells = video
    given = disturbed(cells, 1.0, smooth=False)
    found = HybridEstimator(FakeNetwork()).estimate(scene.previous, scene.current, given)
    alone = PLAIN.estimate(scene.previous, scene.current, given)
    assert sum(angles(found, scene)) < 0.7 * sum(angles(alone, scene))
    assert np.all(found.sigma_R < alone.sigma_R)


@pytest.mark.usefixtures("without_sift")
def test_guided_tracks_are_tracked_anew(wide: tuple[Scene, Matches]) -> None:
    scene, cells = wide
    rough = disturbed(cells, 2.0, smooth=True)
    guided = GuidedTracker().match(scene.previous, scene.current, rough, np.ones(len(rough)))
    once = PLAIN.estimate(scene.previous, scene.current, guided)
    found = HybridEstimator(FakeNetwork(rough)).estimate(scene.previous, scene.current)
    assert sum(angles(found, scene)) < 0.9 * sum(angles(once, scene))


def test_given_matches_that_decide_give_the_pose_of_the_epipolar_solver() -> None:
    scene = synthetic()
    alone = PLAIN.estimate(scene.previous, scene.current, scene.matches)
    found = HybridEstimator(FakeNetwork()).estimate(scene.previous, scene.current, scene.matches)
    np.testing.assert_allclose(found.T_prev_curr.matrix, alone.T_prev_curr.matrix, atol=1e-3)
    np.testing.assert_allclose(found.covariance, alone.covariance, rtol=0.2, atol=1e-6)


def test_matches_of_several_kinds_are_more_exact_together() -> None:
    """On blank images no tracks start from the agreeing matches, so that these decide together."""
    few, many = synthetic(count=40, noise=0.5, baseline=0.1), synthetic(count=200, noise=0.5, seed=6)
    alone = PLAIN.estimate(few.previous, few.current, few.matches)
    estimator = HybridEstimator(FakeNetwork(many.matches), config=ALWAYS)
    found = estimator.estimate(few.previous, few.current, few.matches)
    assert found.sigma_t < 0.5 * alone.sigma_t
    assert direction_angle(found, few) < direction_angle(alone, few)


def test_both_poses_of_a_plane_are_passed_on() -> None:
    rng = np.random.default_rng(1)
    plane = np.array([0.05, 0.1, 0.25])
    scene = make_scene(rng, random_pose(rng, 5.0), noise=0.3, plane=plane)
    found = HybridEstimator(FakeNetwork(), SigmaCalibration(direction=2.0)).estimate(
        scene.previous, scene.current, scene.matches
    )
    plain = HybridEstimator(FakeNetwork()).estimate(scene.previous, scene.current, scene.matches)
    assert len(found.hypotheses) == 2
    assert min(max(angles(hypothesis, scene)) for hypothesis in found.hypotheses) < 3.0
    for wider, hypothesis in zip(found.hypotheses, plain.hypotheses, strict=True):
        assert wider.sigma_t == pytest.approx(2.0 * hypothesis.sigma_t)


def test_calibration_widens_the_deviations(video: tuple[Scene, Matches]) -> None:
    scene, cells = video
    plain, wider = (
        HybridEstimator(FakeNetwork(cells), calibration).estimate(scene.previous, scene.current)
        for calibration in (None, SigmaCalibration(rotation=3.0, direction=2.0))
    )
    np.testing.assert_allclose(wider.sigma_R, 3.0 * plain.sigma_R, rtol=0.05)
    assert wider.sigma_t == pytest.approx(2.0 * plain.sigma_t, rel=0.05)


def test_the_same_input_gives_the_same_output(wide: tuple[Scene, Matches]) -> None:
    scene, cells = wide
    network = FakeNetwork(disturbed(cells, 6.0, smooth=False))
    first, second = (HybridEstimator(network).estimate(scene.previous, scene.current) for _ in range(2))
    np.testing.assert_array_equal(first.T_prev_curr.matrix, second.T_prev_curr.matrix)
    np.testing.assert_array_equal(first.covariance, second.covariance)
