from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iup_pose_ros.estimators.matching.motion_field import fit_motion_field
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.types import Matches

WIDTH, HEIGHT = 320, 200
# About the centre: grown by 1.3, turned by 20 degrees, moved by (40, -15).
TURN = np.radians(20.0)
AFFINE = 1.3 * np.array([[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]])
CENTRE = np.array([WIDTH / 2, HEIGHT / 2])


def moved(points: Array) -> Array:
    return (points - CENTRE) @ AFFINE.T + CENTRE + (40.0, -15.0)


def some_points(rng: np.random.Generator, count: int, left: float = 0.0, right: float = WIDTH - 1.0) -> Array:
    return rng.uniform([left, 0.0], [right, HEIGHT - 1.0], (count, 2))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_an_affine_motion_is_found_among_wrong_matches(seed: int):
    rng = np.random.default_rng(seed)
    points = some_points(rng, 600)
    goals = moved(points)
    wrong = rng.random(600) < 0.2
    goals[wrong] += rng.uniform(-100.0, 100.0, (int(wrong.sum()), 2))
    field = fit_motion_field(Matches(points, goals), np.ones(600), WIDTH, HEIGHT, 0.075)
    inner = some_points(rng, 200) * 0.8 + 0.1 * np.array([WIDTH, HEIGHT])
    errors = np.linalg.norm(field.displace(inner) - moved(inner), axis=1)
    assert np.median(errors) < 2.0
    assert errors.max() < 12.0


def test_weights_tell_whom_to_trust():
    rng = np.random.default_rng(0)
    points = some_points(rng, 400)
    goals = moved(points)
    goals[:300] += (60.0, 30.0)
    weights = np.where(np.arange(400) < 300, 1e-3, 1.0)
    field = fit_motion_field(Matches(points, goals), weights, WIDTH, HEIGHT, 0.1)
    assert np.median(np.linalg.norm(field.displace(points) - moved(points), axis=1)) < 2.0


def test_the_field_continues_where_there_are_no_matches():
    points = some_points(np.random.default_rng(0), 200, right=0.4 * WIDTH)
    field = fit_motion_field(Matches(points, moved(points)), np.ones(200), WIDTH, HEIGHT, 0.05)
    beyond = some_points(np.random.default_rng(1), 100, left=0.6 * WIDTH)
    nearest = np.array([0.4 * WIDTH, HEIGHT / 2])
    constant = beyond + moved(nearest) - nearest
    followed = np.linalg.norm(field.displace(beyond) - moved(beyond), axis=1)
    assert followed.mean() < 0.5 * np.linalg.norm(constant - moved(beyond), axis=1).mean()


def test_a_single_match_moves_everything_alike():
    field = fit_motion_field(
        Matches(np.array([[10.0, 10.0]]), np.array([[30.0, 5.0]])), np.ones(1), WIDTH, HEIGHT, 0.05
    )
    corners = np.array([[0.0, 0.0], [WIDTH - 1.0, HEIGHT - 1.0]])
    assert field.displace(corners) == pytest.approx(corners + np.array([20.0, -5.0]), abs=0.1)
    assert field.displace(np.zeros((0, 2))).shape == (0, 2)


def test_the_warped_image_shows_at_every_pixel_what_lies_where_the_field_takes_it():
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    # Grey levels that tell the column, in an image of another size than the previous one.
    current = cv2.resize((columns / 2.0 + 20.0).astype(np.uint8), (WIDTH, HEIGHT + 40))
    points = some_points(np.random.default_rng(0), 300)
    goals = points + np.column_stack([0.1 * points[:, 0] + 7.0, np.full(300, 3.0)])
    field = fit_motion_field(Matches(points, goals), np.ones(300), WIDTH, HEIGHT, 0.075)
    warped = field.warp(current, WIDTH, HEIGHT)
    assert warped.shape == (HEIGHT, WIDTH)
    pixels = np.stack([columns, rows], axis=-1)[20:-20:10, 20:250:10].reshape(-1, 2).astype(np.float64)
    seen = warped[20:-20:10, 20:250:10].reshape(-1)
    assert seen == pytest.approx(field.displace(pixels)[:, 0] / 2.0 + 20.0, abs=1.5)
