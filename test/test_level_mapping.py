"""Levels of more than 8 bits: one mapping per stream, that neither hops nor is led by single pixels."""

from __future__ import annotations

import numpy as np
import pytest

from iup_pose_ros.level_mapping import LevelMapping

SCENE = np.random.default_rng(1).beta(2.0, 3.0, (120, 160))


def levels(low: float, high: float, dtype: str = "u2") -> np.ndarray:
    return (low + (high - low) * SCENE).astype(dtype)


def test_a_stream_whose_maximum_wanders_around_a_bit_depth_keeps_its_brightness():
    mapping, means = LevelMapping(), []
    for index in range(40):
        exposure = 1.0 + 0.03 * np.sin(index)
        means.append(float(mapping(levels(0, 4096 * exposure)).mean()))
    assert np.ptp(means) / np.mean(means) < 0.08
    assert np.std(mapping(levels(0, 4096))) > 35.0


@pytest.mark.parametrize(("low", "high"), [(29500, 30700), (0, 1023), (0, 4095), (100, 65535), (7000, 7400)])
def test_narrow_ranges_fill_the_grey_levels(low, high):
    mapped = LevelMapping()(levels(low, high))
    assert len(np.unique(mapped)) > 120
    assert np.std(mapped) > 35.0


def test_float_levels_fill_the_grey_levels():
    mapped = LevelMapping()(levels(21.0, 34.0, "f4"))
    assert np.std(mapped) > 35.0


def test_single_bright_pixels_change_nothing():
    clean, dead = LevelMapping(), LevelMapping()
    image = levels(29500, 30700)
    hot = image.copy()
    hot[::37, ::41] = 65535
    np.testing.assert_allclose(dead(hot)[1::37], clean(image)[1::37], atol=6)


def test_noise_of_a_covered_camera_is_not_stretched():
    noise = np.random.default_rng(2).integers(0, 6, (120, 160)).astype("u2")
    assert np.std(LevelMapping()(noise)) < 4.0


def test_a_drift_is_followed_slowly_and_a_cut_at_once():
    mapping = LevelMapping()
    before = mapping(levels(29500, 30700)).astype(float)
    drifted = mapping(levels(29560, 30760)).astype(float)
    assert 8.0 < drifted.mean() - before.mean() < 20.0
    for _ in range(80):
        drifted = mapping(levels(29560, 30760)).astype(float)
    assert abs(drifted.mean() - before.mean()) < 2.0
    assert abs(mapping(levels(9500, 10700)).astype(float).mean() - before.mean()) < 3.0


def test_a_fixed_range_stays():
    mapping = LevelMapping((100.0, 355.0))
    np.testing.assert_array_equal(mapping(np.array([[0, 100, 101, 355, 9000]], "u2")), [[0, 0, 1, 255, 255]])
    assert mapping(np.array([[200]], "u2")) == 100


def test_images_without_a_number_are_black():
    assert not LevelMapping()(np.full((8, 8), np.nan, "f4")).any()
