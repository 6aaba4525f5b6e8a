from __future__ import annotations

import torch
from torch import Tensor

from iup_pose_ros.model.keypoints import CELL, KeypointMaps, find_keypoints, sample

HEIGHT, WIDTH = 6, 8  # cells


def maps_with(peaks: dict[tuple[int, int], float]) -> KeypointMaps:
    """Maps of one view whose scores stand out at pixels (column, row)."""
    scores = torch.full((1, CELL * HEIGHT, CELL * WIDTH), 1e-4)
    for (column, row), score in peaks.items():
        scores[0, row, column] = score
    return KeypointMaps(scores, scores, torch.ones(1, 1, HEIGHT, WIDTH), (torch.zeros(1, 4, HEIGHT, WIDTH),))


def test_the_best_places_are_found_in_the_order_of_their_cells() -> None:
    cells, pixels = find_keypoints(maps_with({(43, 21): 0.5, (3, 5): 0.4, (60, 40): 0.6}), 3, radius=1)
    assert torch.allclose(pixels, torch.tensor([[[3.0, 5.0], [43.0, 21.0], [60.0, 40.0]]]), atol=1e-2)
    assert cells.tolist() == [[0, 2 * WIDTH + 5, 5 * WIDTH + 7]]


def test_a_place_between_two_pixels_is_found_between_them() -> None:
    _, pixels = find_keypoints(maps_with({(20, 20): 0.3, (21, 20): 0.3}), 1, radius=1)
    assert torch.allclose(pixels, torch.tensor([[[20.5, 20.0]]]), atol=0.05)


def test_of_two_near_each_other_in_different_cells_the_stronger_one_comes_first() -> None:
    """The weaker one, across the border of a cell, gives way to a third that is weaker still."""
    _, pixels = find_keypoints(maps_with({(15, 20): 0.5, (16, 20): 0.49, (50, 4): 0.1}), 2, radius=0)
    assert sorted(pixels.round()[0].tolist()) == [[15.0, 20.0], [50.0, 4.0]]


def test_there_are_no_more_keypoints_than_cells() -> None:
    assert find_keypoints(maps_with({(3, 3): 0.2}), 1000, radius=1)[0].shape == (1, HEIGHT * WIDTH)


def test_unreliable_keypoints_are_selected_last() -> None:
    maps = maps_with({(3, 3): 0.5, (40, 30): 0.4})
    reliability = torch.ones(1, 1, HEIGHT, WIDTH)
    reliability[..., :2, :2] = 0.1
    for factor, expected in ((None, [3.0, 3.0]), (reliability, [40.0, 30.0])):
        _, pixels = find_keypoints(maps._replace(reliability=factor), 1, radius=0)
        assert pixels[0].tolist() == [expected]


def test_a_wider_window_reaches_further() -> None:
    maps = maps_with({(20, 20): 0.3, (22, 20): 0.3})
    for radius, column in ((1, 20.0), (2, 21.0)):
        _, pixels = find_keypoints(maps, 1, radius)
        assert abs(float(pixels[0, 0, 0]) - column) < 0.05


def test_a_map_is_sampled_where_the_pixel_lies() -> None:
    columns = (torch.arange(WIDTH) * CELL + 0.5 * (CELL - 1)).expand(1, 1, HEIGHT, WIDTH)
    pixels = torch.tensor([[[10.0, 20.0], [33.25, 7.0]]])
    expected: Tensor = pixels[..., :1]
    assert torch.allclose(sample(columns, pixels), expected, atol=1e-4)
