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
    synthetic,
    unrelated_matches,
)
from two_view_scenes import Scene, direction_angle, make_scene, rotation_error, turned

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.epipolar.epipolar_estimator import EpipolarEstimator
from iup_pose_ros.estimators.hybrid import HybridConfig, HybridEstimator
from iup_pose_ros.estimators.matching.features import LucasKanadeFrontEnd, SiftFrontEnd
from iup_pose_ros.estimators.matching.guided_klt import GuidedTracker
from iup_pose_ros.estimators.matching.probed_klt import ProbedLucasKanadeFrontEnd
from iup_pose_ros.estimators.pose_evidence import InlierModel
from iup_pose_ros.geometry import so3
from iup_pose_ros.types import Frame, Matches

PLAIN = EpipolarEstimator(LucasKanadeFrontEnd())
ALWAYS = HybridConfig(always_ask=True)


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


def test_candidates_that_exclude_each_other_share_the_probability_and_the_covariance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Network and SIFT find as many matches of two different poses."""
    scene = synthetic(count=100, noise=0.3)
    other = make_scene(np.random.default_rng(3), turned(scene.T_prev_curr, 40.0), 100, noise=0.3)
    monkeypatch.setattr(SiftFrontEnd, "match", lambda *_: other.matches)
    found = HybridEstimator(FakeNetwork(scene.matches)).estimate(scene.previous, scene.current)
    assert found.inlier_probability == pytest.approx(0.5, abs=0.2)
    assert min(max(angles(found, each)) for each in (scene, other)) < 3.0
    for each in (scene, other):
        turn = rotation_error(found, each)
        assert turn @ np.linalg.solve(found.covariance[3:, 3:], turn) < 9.0


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
def test_matches_that_are_fixed_in_the_image_do_not_decide(
    known_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the matches are on drops; without those of the network the tracks alone show the motion."""
    scene = synthetic(count=80)
    points = np.random.default_rng(4).uniform([0.0, 0.0], [640.0, 240.0], (120, 2))
    drops = Matches(points, points + 0.1)
    moving = scene.matches if known_by == "tracks" else NO_MATCHES
    network = FakeNetwork(NO_MATCHES if known_by == "tracks" else scene.matches)
    estimator = HybridEstimator(network)
    monkeypatch.setattr(ProbedLucasKanadeFrontEnd, "match", lambda *frames: drops.followed_by(moving))
    found = estimator.estimate(scene.previous, scene.current)
    assert max(angles(found, scene)) < 3.0
    *_, last = estimator.stages(scene.previous, scene.current)
    assert len(last.evidence.matches["tracks"]) < len(moving) + 10
    first = next(iter(estimator.stages(scene.previous, scene.current, drops.followed_by(moving))))
    assert len(first.evidence.matches["tracks"]) == len(drops) + len(moving), "the caller leaves them out"


@pytest.mark.usefixtures("without_sift")
def test_an_object_before_a_resting_camera_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = synthetic(count=300)
    column, row = scene.matches.points_prev.T
    person = scene.matches.chosen((column < 320.0) & (row > 120.0))
    points = np.random.default_rng(4).uniform([0.0, 0.0], [640.0, 480.0], (120, 2))
    tracks = Matches(points, points + 0.1).followed_by(person)
    network = FakeNetwork()
    monkeypatch.setattr(ProbedLucasKanadeFrontEnd, "match", lambda *frames: tracks)
    found = HybridEstimator(network).estimate(scene.previous, scene.current)
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
