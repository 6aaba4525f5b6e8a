from __future__ import annotations

import torch
from torch import Tensor

from iup_pose_ros.model.keypoints import find_keypoints, sample
from iup_pose_ros.model.xfeat_encoder import CELL, DESCRIPTOR_SIZE, XFeatMaps

HEIGHT, WIDTH = 6, 8  # cells


def maps_with(peaks: dict[tuple[int, int], float]) -> XFeatMaps:
    """Maps of one view whose keypoint logits stand out at pixels (column, row)."""
    image = torch.full((1, 1, CELL * HEIGHT, CELL * WIDTH), -9.0)
    for (column, row), logit in peaks.items():
        image[0, 0, row, column] = logit
    logits = torch.nn.functional.pixel_unshuffle(image, CELL)
    none = torch.zeros(1, 1, HEIGHT, WIDTH)
    generator = torch.Generator().manual_seed(0)
    return XFeatMaps(
        stride_2=torch.zeros(1, 8, 4 * HEIGHT, 4 * WIDTH),
        stride_4=torch.zeros(1, 24, 2 * HEIGHT, 2 * WIDTH),
        descriptors=torch.randn(1, DESCRIPTOR_SIZE, HEIGHT, WIDTH, generator=generator),
        reliability=torch.ones(1, 1, HEIGHT, WIDTH),
        keypoint_logits=torch.cat([logits, none], dim=1),
    )


def test_the_best_places_are_found_in_the_order_of_their_cells() -> None:
    found = find_keypoints(maps_with({(43, 21): 5.0, (3, 5): 4.0, (60, 40): 6.0}), 3)
    assert torch.allclose(found.pixels, torch.tensor([[[3.0, 5.0], [43.0, 21.0], [60.0, 40.0]]]), atol=1e-2)
    assert found.cells.tolist() == [[0, 2 * WIDTH + 5, 5 * WIDTH + 7]]
    assert torch.allclose(found.descriptors.norm(dim=2), torch.ones(1, 3), atol=1e-5)


def test_a_place_between_two_pixels_is_found_between_them() -> None:
    found = find_keypoints(maps_with({(20, 20): 3.0, (21, 20): 3.0}), 1)
    assert torch.allclose(found.pixels, torch.tensor([[[20.5, 20.0]]]), atol=0.05)


def test_of_two_near_each_other_in_different_cells_the_stronger_one_comes_first() -> None:
    """The weaker one, across the border of a cell, gives way to a third that is weaker still."""
    found = find_keypoints(maps_with({(15, 20): 5.0, (16, 20): 4.9, (50, 4): 1.0}), 2)
    assert sorted(found.pixels.round()[0].tolist()) == [[15.0, 20.0], [50.0, 4.0]]


def test_there_are_no_more_keypoints_than_cells() -> None:
    assert find_keypoints(maps_with({(3, 3): 2.0}), 1000).cells.shape == (1, HEIGHT * WIDTH)


def test_a_map_is_sampled_where_the_pixel_lies() -> None:
    columns = (torch.arange(WIDTH) * CELL + 0.5 * (CELL - 1)).expand(1, 1, HEIGHT, WIDTH)
    pixels = torch.tensor([[[10.0, 20.0], [33.25, 7.0]]])
    expected: Tensor = pixels[..., :1]
    assert torch.allclose(sample(columns, pixels), expected, atol=1e-4)
