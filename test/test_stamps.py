"""Stamps are uneven where they tell of arrival; images left out and small jitter are even."""

from __future__ import annotations

import numpy as np
import pytest

from iup_pose_ros.node.inputs import InfoRarity
from iup_pose_ros.stamps import StampIntervals

PERIOD = 33_000_000


def warning_of(intervals):
    stamps = StampIntervals()
    for stamp in np.concatenate([[0], np.cumsum(intervals)]).astype(int):
        stamps.add(int(stamp))
    return stamps.warning


@pytest.mark.parametrize("late", [61_000_000, 95_000_000])  # the second is 19 times 5 ms
def test_stamps_of_arrival_are_named(late):
    intervals = np.where(np.arange(61) % 2, late, 5_000_000)
    assert f"irregular, 5 to {late // 1_000_000} ms apart" in warning_of(intervals)


@pytest.mark.parametrize("jitter", [0.0, 0.05])
def test_left_out_images_and_small_jitter_are_even(jitter):
    rng = np.random.default_rng(1)
    multiples = rng.choice([1, 1, 1, 2, 3], 60)
    assert warning_of(PERIOD * (multiples + jitter * rng.standard_normal(60))) == ""


def test_few_stamps_and_a_clock_set_back_are_not_judged():
    assert warning_of([5_000_000, 61_000_000] * 5) == ""
    assert warning_of([*([5_000_000, 61_000_000] * 30), -(10**10), *[PERIOD] * 5]) == ""


@pytest.mark.parametrize(
    ("every", "is_rare"),
    [(1, False), (2, True), (5, True)],
    ids=["each image", "every second", "every fifth"],
)
def test_camera_info_is_rare_where_most_images_have_none(every, is_rare):
    rarity = InfoRarity()
    for index in range(40):
        if index % every == 0:
            rarity.on_info()
        rarity.on_image()
    assert rarity.is_rare is is_rare
    for _ in range(20):
        rarity.on_info()
        rarity.on_image()
    assert not rarity.is_rare


def test_camera_info_that_never_came_is_missing_rather_than_rare():
    rarity = InfoRarity()
    for _ in range(40):
        rarity.on_image()
    assert not rarity.is_rare
