"""The picture for people shows what it is given, at any resolution, and leaves the image as it was."""

from __future__ import annotations

import re

import numpy as np
import pytest

from iup_pose_ros.errors import ImageError
from iup_pose_ros.node.debug_image import draw_debug_image
from iup_pose_ros.types import Matches

SIZES = [(240, 320), (480, 640), (1080, 1920)]
GREY = 90
STATES = ("INITIALIZING", "TRACKING", "STATIONARY", "LOST")


def plain(height=240, width=320):
    return np.full((height, width, 3), GREY, dtype=np.uint8)


def changed(picture):
    """Pixels (H, W) that differ from the plain image."""
    return (picture != GREY).any(axis=2)


def matches(*pairs):
    previous, current = zip(*pairs, strict=True)
    return Matches(np.array(previous, dtype=float), np.array(current, dtype=float))


def test_without_anything_to_draw_the_picture_is_the_image():
    image = np.random.default_rng(1).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    picture = draw_debug_image(image, None, "", [], None)
    np.testing.assert_array_equal(picture, image)
    assert picture is not image


def test_the_image_itself_is_not_changed():
    image = plain()
    draw_debug_image(image, matches(((50, 50), (90, 90))), "LOST", ["why"], np.ones((3, 4)))
    assert (image == GREY).all()


def test_a_read_only_and_strided_image_is_drawn():
    image = plain()[:, ::-1]
    image.flags.writeable = False
    assert changed(draw_debug_image(image, None, "TRACKING", [], None)).any()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_track_is_a_line_from_previous_to_current_with_a_dot_at_the_current_end(height, width):
    start, end = np.array([0.3 * width, 0.6 * height]), np.array([0.7 * width, 0.8 * height])
    picture = draw_debug_image(plain(height, width), matches((start, end)), "", [], None)
    for share in np.linspace(0.0, 0.9, 7):
        column, row = np.round(start + share * (end - start)).astype(int)
        red, green, _ = picture[row, column].astype(int)
        assert green > red + 50
    column, row = np.round(end).astype(int)
    red, green, _ = picture[row, column].astype(int)
    assert red > green + 50
    rows, columns = np.nonzero(changed(picture)[height // 2 :])
    assert rows.min() + height // 2 >= start[1] - 5
    assert columns.max() <= end[0] + 10


def test_tracks_that_are_no_numbers_or_far_away_harm_nothing():
    wild = matches(
        ((np.nan, 100), (150, 150)),
        ((100, 200), (np.inf, 200)),
        ((-1e12, 1e300), (1e12, 220)),
        ((9, 9), (9, 9)),
    )
    picture = draw_debug_image(plain(), wild, "", [], None)
    assert not changed(picture)[145:155, 145:155].any()


def test_no_tracks_draw_nothing():
    none = Matches(np.zeros((0, 2)), np.zeros((0, 2)))
    picture = draw_debug_image(plain(), none, "", [], None)
    np.testing.assert_array_equal(picture, draw_debug_image(plain(), None, "", [], None))


def text_pixels(picture):
    """Bright pixels (H, W): letters on the darkened panel."""
    return picture.max(axis=2) > 150


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_text_is_legible_and_keeps_most_of_the_image_free(height, width):
    lines = ["sigma R 0.05 0.04 0.06 deg", "sigma t 1.2 deg"]
    picture = draw_debug_image(plain(height, width), None, "TRACKING", lines, None)
    rows = np.nonzero(text_pixels(picture).any(axis=1))[0]
    starts = rows[np.insert(np.diff(rows) > 1, 0, True)]
    assert len(starts) == 1 + len(lines)
    runs = np.split(rows, np.nonzero(np.diff(rows) > 1)[0] + 1)
    assert min(len(run) for run in runs) >= max(8, 0.02 * height)
    assert not changed(picture)[height // 3 :].any()
    panel = picture[: rows.max()][~text_pixels(picture)[: rows.max()]]
    assert np.median(panel) < GREY / 2


def test_every_state_has_a_colour_of_its_own():
    colours = {}
    for state in STATES:
        picture = draw_debug_image(plain(), None, state, [], None)
        letters = picture[text_pixels(picture)]
        colours[state] = tuple(letters[letters.astype(int).sum(axis=1).argmax()])
    assert len(set(colours.values())) == len(STATES)
    red, green, blue = (int(value) for value in colours["LOST"])
    assert red > max(green, blue)


def test_a_long_line_is_wrapped_inside_the_image():
    reason = "waiting for transform base_link <- camera_optical, which nobody has published for a while now"
    one = draw_debug_image(plain(), None, "INITIALIZING", ["short"], None)
    two = draw_debug_image(plain(), None, "INITIALIZING", [reason], None)
    assert changed(two).sum() > changed(one).sum()
    assert not text_pixels(two)[:, -3:].any()


def test_more_text_than_fits_is_cut_off_at_the_bottom():
    picture = draw_debug_image(plain(48, 64), None, "LOST", ["a line of text"] * 50, None)
    assert picture.shape == (48, 64, 3)


def test_text_outside_ascii_is_no_error():
    assert changed(draw_debug_image(plain(), None, "LOST", ["frame 相机 ±σ"], None)).any()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_attention_colours_the_places_it_is_on_and_only_those(height, width):
    attention = np.zeros((15, 20), dtype=np.float32)
    attention[10:, 15:] = 1.0
    picture = draw_debug_image(plain(height, width), None, "", [], attention)
    there = picture[int(0.85 * height), int(0.9 * width)].astype(int)
    assert np.ptp(there) > 40
    assert not changed(picture)[height // 2 :, : width // 2].any()


def test_the_image_shows_through_full_attention():
    image = np.random.default_rng(2).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    picture = draw_debug_image(image, None, "", [], np.ones((6, 8)))
    for channel in range(3):
        below, above = (array[60:, :, channel].ravel().astype(float) for array in (image, picture))
        assert np.corrcoef(below, above)[0, 1] > 0.95


def test_attention_out_of_range_is_limited_and_what_is_no_number_is_none():
    values = np.array([[5.0, np.nan], [-3.0, np.inf]])
    limited = np.array([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(
        draw_debug_image(plain(), None, "", [], values), draw_debug_image(plain(), None, "", [], limited)
    )


def test_a_grey_image_becomes_colour():
    grey = np.full((240, 320), GREY, dtype=np.uint8)
    np.testing.assert_array_equal(
        draw_debug_image(grey, None, "LOST", ["x"], None),
        draw_debug_image(plain(), None, "LOST", ["x"], None),
    )


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 5, 4), dtype=np.uint8), "image is uint8 (4, 5, 4); uint8 of shape (H, W, 3) or (H, W)"),
        (np.zeros((4, 5, 3), dtype=np.float32), "image is float32 (4, 5, 3); uint8"),
        (np.zeros((0, 5, 3), dtype=np.uint8), "image of shape (0, 5, 3) has no pixels"),
        (np.zeros(5, dtype=np.uint8), "image is uint8 (5,); uint8"),
    ],
    ids=["four channels", "floats", "no pixels", "one dimension"],
)
def test_what_is_no_image_is_named(image, words):
    with pytest.raises(ImageError, match=re.escape(words)):
        draw_debug_image(image, None, "LOST", [], None)


@pytest.mark.parametrize(
    "attention", [np.zeros((2, 3, 1)), np.zeros((0, 3)), np.zeros((2, 3), dtype=np.uint8)]
)
def test_what_is_no_attention_is_named(attention):
    with pytest.raises(ImageError, match="attention is"):
        draw_debug_image(plain(), None, "LOST", [], attention)
