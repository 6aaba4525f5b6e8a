"""Which matches agree with a pose, what is counted of them, and how probable that makes the pose."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.special import expit
from two_view_scenes import Scene, make_scene, random_pose, turned

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.epipolar.residuals import CameraPair
from iup_pose_ros.estimators.epipolar.solver import EpipolarSolver
from iup_pose_ros.estimators.pose_evidence import (
    KINDS,
    MINIMUM_PROBABILITY,
    Candidate,
    InlierModel,
    PoseEvidence,
    check_probability,
    exclude_each_other,
    motion_past_fixed,
    probability_beside,
)
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.types import Matches


def scene(count: int = 80, outliers: int = 0, noise: float = 0.0, seed: int = 0) -> Scene:
    return make_scene(
        np.random.default_rng(seed),
        random_pose(np.random.default_rng(1)),
        count,
        noise=noise,
        outliers=outliers,
    )


def shifted(matches: Matches, T_prev_curr: Pose, pixels: float) -> Matches:
    """Exact matches moved across their epipolar lines by an epipolar error of about ``pixels``."""
    start = scene()
    cameras = CameraPair.of(start.previous, start.current)
    rays = cameras.previous.rays(matches.points_prev)
    normals = np.cross(T_prev_curr.translation, rays) @ T_prev_curr.rotation
    across = normals[:, :2] / np.linalg.norm(normals[:, :2], axis=1, keepdims=True)
    return Matches(matches.points_prev, matches.points_curr + pixels * across)


def candidate(found: Scene, kind: str) -> Candidate:
    solver = EpipolarSolver("test")
    return Candidate(solver.fit(found.previous, found.current, found.matches), kind)


@pytest.mark.parametrize(("turn", "swing"), [(21.0, 0.0), (0.0, 21.0)])
def test_poses_exclude_each_other_beyond_twice_the_error_of_a_correct_one(turn: float, swing: float) -> None:
    def moved(share: float) -> Pose:
        turned_by, swung_by = (so3.exp(np.radians([0.0, share * angle, 0.0])) for angle in (turn, swing))
        return Pose(turned_by, swung_by @ np.array([1.0, 0.0, 0.0]))

    assert exclude_each_other(moved(0.0), moved(1.0))
    assert not exclude_each_other(moved(0.0), moved(0.9))


@pytest.mark.parametrize(("probability", "rival"), [(0.9, 0.5), (0.8, 0.8), (0.6, 0.01), (0.7, 0.0)])
def test_the_probability_beside_a_rival_is_the_share_of_the_cases_in_which_not_both_are_correct(
    probability: float, rival: float
) -> None:
    correct, rival_correct = np.random.default_rng(0).random((2, 200_000)) < [[probability], [rival]]
    possible = ~(correct & rival_correct)
    assert probability_beside(probability, rival) == pytest.approx(np.mean(correct[possible]), abs=0.005)


def test_two_certain_poses_that_exclude_each_other_are_equally_probable() -> None:
    assert probability_beside(1.0, 1.0) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_matches_agree_up_to_the_epipolar_error_of_their_kind(kind: str) -> None:
    """Moved in one image only, a match has a Sampson error of 1/2 to 1 of the move."""
    found = scene()
    cameras = CameraPair.of(found.previous, found.current)
    for factor, agree in ((0.9, True), (3.0, False)):
        moved = shifted(found.matches, found.T_prev_curr, factor * KINDS[kind])
        agreeing = PoseEvidence(cameras, {kind: moved}).agreeing(found.T_prev_curr)
        assert len(agreeing) == (80 if agree else 0)


def test_matches_that_meet_behind_the_cameras_do_not_agree() -> None:
    found = scene()
    evidence = PoseEvidence(CameraPair.of(found.previous, found.current), {"tracks": found.matches})
    backwards = Pose(found.T_prev_curr.rotation, -found.T_prev_curr.translation)
    assert len(evidence.agreeing(found.T_prev_curr)) == 80
    assert len(evidence.agreeing(backwards)) < 5


def test_agreeing_matches_come_from_all_kinds() -> None:
    right, other = scene(30), scene(50, seed=2)
    wrong = scene(40, seed=3).matches
    nonsense = Matches(wrong.points_prev, wrong.points_curr[::-1] + 60.0)
    evidence = PoseEvidence(
        CameraPair.of(right.previous, right.current),
        {"tracks": right.matches, "network": nonsense, "sift": other.matches},
    )
    assert evidence.kinds == "tracks network sift"
    agreeing = evidence.agreeing(right.T_prev_curr)
    np.testing.assert_array_equal(agreeing.points_prev[:30], right.matches.points_prev)
    np.testing.assert_array_equal(agreeing.points_curr[-50:], other.matches.points_curr)
    assert 80 <= len(agreeing) < 90


def test_features_count_what_agrees_beyond_chance() -> None:
    found, other = scene(80), scene(20, seed=2)
    away = scene(20, seed=4).matches
    sift = other.matches.followed_by(shifted(away, found.T_prev_curr, 40.0))
    cameras = CameraPair.of(found.previous, found.current)
    evidence = PoseEvidence(cameras, {"tracks": found.matches, "sift": sift})
    tracked = candidate(found, "tracks")
    points = np.concatenate([found.matches.points_prev, other.matches.points_prev])
    cells = {(int(8 * u / cameras.previous.width), int(8 * v / cameras.previous.height)) for u, v in points}
    assert evidence.features(tracked) == pytest.approx(
        {
            "constant": 1.0,
            "from tracks": 1.0,
            "inliers": np.log(80.0),
            "sigma_R": 0.5 * np.log((tracked.result.pose.sigma_R**2).sum()),
            "sigma_t": np.log(tracked.result.pose.sigma_t),
            "spread": np.log(1.0 + len(cells)),
            "tracks count": np.log(1.0 + 80 - 0.03 * 80),
            "tracks share": 80 / 85,
            "tracks own count": np.log(81.0),
            "sift count": np.log(1.0 + 20 - 0.03 * 40),
            "sift share": 20 / 45,
        }
    )


def test_fewer_agreeing_matches_than_by_chance_count_as_none() -> None:
    found = scene(80)
    nonsense = shifted(scene(80, seed=2).matches, found.T_prev_curr, 40.0)
    evidence = PoseEvidence(
        CameraPair.of(found.previous, found.current), {"tracks": found.matches, "sift": nonsense}
    )
    features = evidence.features(candidate(found, "tracks"))
    assert features["sift count"] == features["sift share"] == 0.0


def test_probability_is_the_logistic_function_of_the_weighted_features() -> None:
    found = scene(80)
    evidence = PoseEvidence(CameraPair.of(found.previous, found.current), {"tracks": found.matches})
    weights = {"constant": -3.0, "tracks share": 2.0, "from tracks": 0.25, "unknown": 100.0}
    model = InlierModel({"tracks": weights, "tracks sift": {"constant": 9.0}})
    assert model.probability(evidence, candidate(found, "tracks")) == pytest.approx(
        expit(-3.0 + 2.0 * 80 / 85 + 0.25)
    )


def test_without_fitted_weights_agreeing_matches_make_a_pose_probable() -> None:
    found = scene(80, noise=0.2)
    evidence = PoseEvidence(CameraPair.of(found.previous, found.current), {"tracks": found.matches})
    model = InlierModel({"tracks sift": {"constant": -9.0}})
    right = candidate(found, "tracks")
    assert model.probability(evidence, right) > 0.9
    wrong = make_scene(
        np.random.default_rng(5), turned(random_pose(np.random.default_rng(1)), 40.0), 80, noise=0.2
    )
    assert model.probability(evidence, candidate(wrong, "tracks")) < 0.2


def test_a_pose_is_refused_below_the_minimum_probability() -> None:
    check_probability(MINIMUM_PROBABILITY)
    with pytest.raises(EstimationError, match=f"probability of 0.15, the minimum is {MINIMUM_PROBABILITY}"):
        check_probability(0.15)
    with pytest.raises(EstimationError):
        check_probability(MINIMUM_PROBABILITY - 1e-6)


# What is fixed in the image


def in_place(left: float, top: float, right: float, bottom: float, count: int = 120) -> Matches:
    """Matches within a part of the image of 640x480 pixels that move by a tenth of a pixel."""
    rng = np.random.default_rng(8)
    points = rng.uniform([left, top], [right, bottom], (count, 2))
    return Matches(points, points + 0.1 * rng.normal(size=points.shape))


def evidence_with(fixed: Matches, moving: Scene) -> PoseEvidence:
    cameras = CameraPair.of(moving.previous, moving.current)
    return PoseEvidence(cameras, {"tracks": fixed.followed_by(moving.matches)})


def pose_past_fixed(evidence: PoseEvidence, moving: Scene) -> Pose | None:
    solver = EpipolarSolver("test")
    return motion_past_fixed(evidence, "tracks", partial(solver.fit, moving.previous, moving.current))


def test_what_is_fixed_in_the_image_is_left_out_where_what_moves_covers_more() -> None:
    moving = scene(noise=0.2)
    hood = in_place(0.0, 320.0, 640.0, 480.0)
    evidence = evidence_with(hood, moving)
    T_moving = pose_past_fixed(evidence, moving)
    assert T_moving is not None
    assert evidence.prevails(T_moving)
    cleaned = PoseEvidence(evidence.cameras, T_moving=T_moving)
    kept = cleaned.add("tracks", evidence.matches["tracks"])
    assert kept is cleaned.matches["tracks"]
    assert np.count_nonzero(cleaned.cameras.in_place(kept)) < 10
    assert len(kept) >= len(moving.matches)


def test_with_a_resting_camera_what_moves_does_not_prevail() -> None:
    everywhere = in_place(0.0, 0.0, 640.0, 480.0)
    moving = scene(count=160, noise=0.2)
    column, row = moving.matches.points_prev.T
    person = moving.matches.chosen((column < 320.0) & (row > 120.0))
    assert len(person) > 30
    evidence = evidence_with(everywhere, replace(moving, matches=person))
    T_moving = pose_past_fixed(evidence, moving)
    assert T_moving is not None
    assert not evidence.prevails(T_moving)


def test_distant_points_of_a_camera_that_does_not_turn_are_not_fixed() -> None:
    forward = Pose(np.eye(3), np.array([0.0, 0.0, 1.0]))
    near = make_scene(np.random.default_rng(3), forward, 80, noise=0.1)
    evidence = evidence_with(in_place(0.0, 0.0, 640.0, 480.0), near)
    assert np.count_nonzero(evidence.cameras.in_place(evidence.matches["tracks"])) >= 100
    assert pose_past_fixed(evidence, near) is None


def test_nothing_is_in_place_between_two_cameras() -> None:
    moving = make_scene(np.random.default_rng(3), random_pose(np.random.default_rng(1)), same_camera=False)
    evidence = evidence_with(in_place(0.0, 320.0, 640.0, 480.0), moving)
    assert pose_past_fixed(evidence, moving) is None
