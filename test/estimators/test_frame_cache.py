"""FrameCache: which frames are computed again."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from iup_pose_ros.estimators.frame_cache import FrameCache
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.types import Frame

INTRINSICS = Intrinsics(60.0, 60.0, 31.5, 23.5, 64, 48)


def frame(stamp):
    return Frame(np.zeros((48, 64), np.uint8), INTRINSICS, float(stamp), "camera")


@pytest.fixture
def computed():
    return []


@pytest.fixture
def cache(computed):
    def compute(of):
        computed.append(of.stamp)
        return -of.stamp

    return FrameCache(compute)


def test_keyframe_is_computed_once_however_many_images_it_is_compared_with(cache, computed):
    keyframe = frame(1)
    for stamp in (2, 3, 4, 5):
        assert (cache(keyframe), cache(frame(stamp))) == (-1.0, -stamp)
    assert computed == [1, 2, 3, 4, 5]


def test_next_keyframe_is_still_known(cache, computed):
    frames = [frame(stamp) for stamp in range(4)]
    for previous, current in itertools.pairwise(frames):
        cache(previous), cache(current)
    assert computed == [0, 1, 2, 3]


def test_frame_with_another_stamp_shares_the_value_of_its_image(cache, computed):
    keyframe = frame(1)
    cache(keyframe)
    assert cache(replace(keyframe, stamp=9.0)) == -1.0
    assert computed == [1]


def test_other_intrinsics_are_another_frame(cache, computed):
    keyframe = frame(1)
    cache(keyframe)
    cache(replace(keyframe, stamp=2.0, intrinsics=replace(INTRINSICS, fx=61.0)))
    assert computed == [1, 2]


def test_failure_is_not_cached():
    cache = FrameCache(lambda of: 1.0 / of.stamp)
    with pytest.raises(ZeroDivisionError):
        cache(frame(0))
    assert cache(frame(2)) == 0.5
