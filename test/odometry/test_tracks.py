from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from odometry_scenes import INTRINSICS, black, frame, pose, with_object

from iup_pose_ros.odometry.tracks import Tracker, evenly_spread, is_low_texture

MAXIMUM = 300


def test_tracks_follow_a_turning_camera_to_a_fraction_of_a_pixel():
    views = [pose(turn=(0.0, 0.02 * k, 0.01 * k)) for k in range(5)]
    tracks = Tracker(MAXIMUM).begin(frame(0.0, views[0]))
    for k, view in enumerate(views[1:], start=1):
        tracks = tracks.advanced(frame(float(k), view))
    mapping = INTRINSICS.matrix @ views[-1].rotation.T @ np.linalg.inv(INTRINSICS.matrix)
    expected = np.column_stack([tracks.points_keyframe, np.ones(len(tracks))]) @ mapping.T
    errors = np.linalg.norm(expected[:, :2] / expected[:, 2:] - tracks.points_latest, axis=1)
    assert np.median(errors) < 0.15
    assert tracks.fraction > 0.7
    assert tracks.interval == 4.0


def test_no_corners_are_detected_near_avoided_points():
    tracker = Tracker(MAXIMUM)
    first = tracker.begin(frame(0.0, pose())).points_latest
    tracker.avoid(first[:100])
    later = tracker.begin(frame(1.0, pose())).points_latest
    distances = np.linalg.norm(later[:, None] - first[:100], axis=2)
    assert len(later) > 100
    assert distances.min() > 2.0
    # As many as there are tracks are remembered, the latest ones.
    tracker.avoid(np.zeros((MAXIMUM, 2)))
    again = tracker.begin(frame(2.0, pose())).points_latest
    assert np.linalg.norm(again[:, None] - first[:100], axis=2).min() < 2.0


def test_points_cover_every_part_of_the_image():
    points = Tracker(MAXIMUM).begin(frame(0.0, pose())).points_latest
    cells = set(map(tuple, (points // 80.0).astype(int)))
    assert cells == {(column, row) for column in range(4) for row in range(3)}


def test_cells_with_fewer_points_are_served_first_and_better_points_before_worse():
    existing = np.array([[5.0, 5.0], [6.0, 6.0]])
    points = np.array([[7.0, 7.0], [15.0, 5.0], [16.0, 5.0], [5.0, 15.0]])
    assert evenly_spread(points, existing, 10.0).tolist() == [1, 3, 2, 0]


def test_numbers_stay_with_their_points_over_keyframes_and_are_never_given_twice():
    tracker = Tracker(MAXIMUM)
    first = tracker.begin(frame(0.0, pose()))
    moved = first.advanced(frame(1.0, pose(0.5)))
    second = tracker.renew(moved)
    np.testing.assert_array_equal(second.ids[: len(moved)], moved.ids)
    np.testing.assert_array_equal(second.points_keyframe[: len(moved)], moved.points_latest)
    assert np.all(np.diff(second.ids) > 0)
    assert len(second) > len(moved)
    other = tracker.begin(frame(2.0, pose(1.0)))
    assert other.ids.min() > second.ids.max()
    assert [first.keyframe_id, second.keyframe_id, other.keyframe_id] == [0, 1, 2]


def test_new_points_keep_away_from_old_ones():
    tracker = Tracker(MAXIMUM)
    tracks = tracker.renew(tracker.begin(frame(0.0, pose())).advanced(frame(1.0, pose(0.5))))
    distances = np.linalg.norm(tracks.points_latest[:, None] - tracks.points_latest, axis=2)
    np.fill_diagonal(distances, np.inf)
    assert np.median(distances.min(axis=1)) > 5.0


def test_rows_can_be_chosen_and_matches_stay_aligned():
    tracks = Tracker(MAXIMUM).begin(frame(0.0, pose())).advanced(frame(1.0, pose(0.2)))
    rows = np.arange(len(tracks)) % 2 == 0
    kept = tracks.kept(rows)
    np.testing.assert_array_equal(kept.matches.points_prev, tracks.points_keyframe[rows])
    np.testing.assert_array_equal(kept.matches.points_curr, tracks.points_latest[rows])


def test_nothing_is_followed_into_darkness():
    tracks = Tracker(MAXIMUM).begin(frame(0.0, pose())).advanced(black(1.0))
    assert tracks.fraction < 0.05
    assert is_low_texture(black(1.0))
    assert not is_low_texture(frame(0.0, pose()))


@pytest.mark.parametrize("change", ["intrinsics", "frame_id"])
def test_frames_of_another_camera_do_not_fit(change: str):
    tracks = Tracker(MAXIMUM).begin(frame(0.0, pose()))
    other = frame(1.0, pose())
    assert tracks.fits(other)
    values = {"intrinsics": replace(INTRINSICS, fx=300.0), "frame_id": "camera_2"}
    assert not tracks.fits(replace(other, **{change: values[change]}))


def test_masked_pixels_have_no_tracks():
    ahead = pose(z=2.0)
    behind = with_object(frame(0.0, pose()), ahead, 0.8, 0.8, masked=True)
    tracks = Tracker(MAXIMUM).begin(behind)
    assert behind.are_usable(tracks.points_latest).all()
    moved = with_object(frame(1.0, pose(0.01)), pose(0.2, 0.0, 2.0), 0.8, 0.8, masked=True)
    unmasked = tracks.advanced(replace(moved, mask=None))
    followed = tracks.advanced(moved)
    assert moved.are_usable(followed.points_latest).all()
    assert 0 < len(followed) < len(unmasked)


def test_contrast_counts_outside_the_mask_only():
    image = frame(0.0, pose()).image.copy()
    mask = np.zeros_like(image)
    mask[:, 100:] = 255
    image[:, :100] = 80
    masked = replace(black(0.0), image=image, mask=mask)
    assert is_low_texture(masked)
    assert not is_low_texture(replace(masked, mask=None))
