from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from iup_pose_ros.evaluation.metrics.pair_errors import (
    area_under_recall,
    direction_error_deg,
    folded_deg,
    pose_errors_deg,
    rotation_error_deg,
)
from iup_pose_ros.geometry.pose import Pose

ERRORS = st.lists(st.floats(0.0, 180.0) | st.just(np.inf), min_size=1, max_size=30)


def translated(*translation: float) -> Pose:
    return Pose(np.eye(3), np.array(translation))


@pytest.mark.parametrize(
    ("errors", "threshold", "percent"),
    [
        # One error in the middle: a triangle of 2.5 x 1 / 2 up to it, then a rectangle of 2.5 x 1.
        ([2.5], 5, 100.0 * (1.25 + 2.5) / 5.0),
        # The second error is above the threshold: the recall stays at one half.
        ([2.0, 7.0], 5, 100.0 * (0.5 * 2.0 / 2.0 + 0.5 * 3.0) / 5.0),
        # Both errors are below the threshold: a triangle, a trapezoid and a rectangle.
        ([2.0, 7.0], 10, 100.0 * (0.5 + 5.0 * 0.75 + 3.0) / 10.0),
        ([0.0, 0.0, 0.0], 5, 100.0),
        ([30.0, 40.0], 20, 0.0),
        ([np.inf], 20, 0.0),
        # A failed pair halves the recall.
        ([2.5, np.inf], 5, 50.0 * (1.25 + 2.5) / 5.0),
    ],
)
def test_the_area_is_that_computed_by_hand(errors: list[float], threshold: int, percent: float):
    assert area_under_recall(np.array(errors), [threshold]) == pytest.approx([percent])


@given(errors=ERRORS)
def test_the_area_is_a_percentage_that_grows_with_the_threshold(errors: list[float]):
    areas = area_under_recall(np.array(errors), [1, 5, 10, 20, 90])
    assert all(0.0 <= area <= 100.0 + 1e-9 for area in areas)
    assert np.all(np.diff(areas) >= -1e-9)


@given(errors=ERRORS)
def test_the_order_of_the_errors_does_not_matter(errors: list[float]):
    assert area_under_recall(np.array(errors[::-1])) == pytest.approx(area_under_recall(np.array(errors)))


def test_without_errors_there_is_no_area():
    assert np.all(np.isnan(area_under_recall(np.zeros(0))))


@given(st.lists(st.floats(-3.0, 3.0), min_size=6, max_size=6))
def test_the_rotation_error_is_the_angle_that_scipy_finds(values: list[float]):
    first, second = Rotation.from_rotvec(values[:3]), Rotation.from_rotvec(values[3:])
    poses = [Pose(rotation.as_matrix(), np.zeros(3)) for rotation in (first, second)]
    expected = np.degrees((first.inv() * second).magnitude())
    assert rotation_error_deg(*poses) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("estimate", "unfolded", "folded"),
    [
        ((0.0, 0.0, 5.0), 0.0, 0.0),
        ((0.0, 0.0, -1.0), 180.0, 0.0),
        ((1.0, 0.0, 1.0), 45.0, 45.0),
        ((1.0, 0.0, -1.0), 135.0, 45.0),
        ((0.0, 2.0, 0.0), 90.0, 90.0),
    ],
)
def test_only_the_unfolded_direction_error_depends_on_the_sign(
    estimate: tuple[float, float, float], unfolded: float, folded: float
):
    error = direction_error_deg(translated(*estimate), translated(0.0, 0.0, 0.1))
    assert error == pytest.approx(unfolded)
    assert folded_deg(np.array([error])) == pytest.approx([folded], abs=1e-9)


def test_a_failure_stays_a_failure_when_folded():
    assert folded_deg(np.array([np.inf, 170.0])).tolist() == [np.inf, 10.0]


def test_without_true_motion_only_the_rotation_counts():
    direction = direction_error_deg(translated(1.0, 0.0, 0.0), translated(0.0, 0.0, 0.0))
    assert np.isnan(direction)
    assert pose_errors_deg(np.array([3.0, 3.0]), np.array([direction, 8.0])).tolist() == [3.0, 8.0]
