from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from iup_pose_ros.demo_scene.rendered_pair import (
    REGIMES,
    RenderedPair,
    concatenate,
    random_pair,
    random_scene,
    sample_at,
    warp_0_to_1,
)
from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.geometry import so3


def smooth_textures(count: int = 4) -> list[np.ndarray]:
    """Return low-pass filtered noise, so that interpolation errors are small."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(0, 255, (count, 128, 160, 3)).astype(np.float32)
    blurred = [cv2.GaussianBlur(image, (0, 0), 4.0) for image in noise]
    return [np.clip((image - 127.5) * 8 + 127.5, 0, 255).astype(np.uint8) for image in blurred]


@pytest.fixture(scope="module")
def pairs() -> dict[str, RenderedPair]:
    generator = torch.Generator().manual_seed(5)
    scene = random_scene(smooth_textures(), generator)
    return {
        regime: concatenate([random_pair(scene, generator, 192, 144, regime) for _ in range(3)])
        for regime in REGIMES
    }


@pytest.mark.parametrize("regime", REGIMES)
def test_view_0_warped_by_depth_and_pose_is_view_1(pairs: dict[str, RenderedPair], regime: str) -> None:
    pair = pairs[regime]
    pixels, _ = warp_0_to_1(pair.depth_0, pair.K, pair.R_1_0, pair.t_1_0)
    residual = (sample_at(pair.image_1, pixels) - pair.image_0).abs().mean(1) * 255
    for i in range(len(residual)):
        seen = residual[i][pair.visible_0[i]]
        assert seen.mean() < 3.0
        assert seen.median() < 1.5


@pytest.mark.parametrize("regime", REGIMES)
def test_wrong_pose_leaves_a_residual(pairs: dict[str, RenderedPair], regime: str) -> None:
    pair = pairs[regime]
    pixels, _ = warp_0_to_1(pair.depth_0, pair.K, pair.R_1_0.transpose(1, 2), pair.t_1_0)
    residual = (sample_at(pair.image_1, pixels) - pair.image_0).abs().mean(1) * 255
    assert residual[pair.visible_0].mean() > 6.0


@pytest.mark.parametrize("regime", REGIMES)
def test_pairs_are_within_the_limits_of_their_regime(pairs: dict[str, RenderedPair], regime: str) -> None:
    pair, limits = pairs[regime], REGIMES[regime]
    angles = np.degrees(so3.angle(pair.R_1_0.numpy()))
    assert (angles <= limits.rotation + 1e-3).all()
    assert (pair.visible_0.float().mean(dim=(1, 2)) >= limits.overlap).all()
    share = pair.t_1_0.norm(dim=1) / pair.depth_0.flatten(1).median(dim=1).values
    assert ((share >= limits.baseline[0] * 0.999) & (share <= limits.baseline[1] * 1.001)).all()


def test_depth_of_a_warped_point_is_the_depth_of_view_1(pairs: dict[str, RenderedPair]) -> None:
    pair = pairs["video"]
    pixels, depth = warp_0_to_1(pair.depth_0, pair.K, pair.R_1_0, pair.t_1_0)
    seen = 1.0 / sample_at(1.0 / pair.depth_1[:, None], pixels)[:, 0]
    ratio = (seen / depth)[pair.visible_0]
    assert (ratio - 1.0).abs().median() < 1e-4


def test_same_seed_gives_the_same_pair() -> None:
    def draw() -> RenderedPair:
        generator = torch.Generator().manual_seed(8)
        scene = random_scene(smooth_textures(2), generator, rectangles=4)
        return random_pair(scene, generator, 64, 48)

    first, second = draw(), draw()
    assert torch.equal(first.image_1, second.image_1)
    assert torch.equal(first.R_1_0, second.R_1_0)


def test_pairs_are_concatenated_to_one_batch(pairs: dict[str, RenderedPair]) -> None:
    joined = concatenate(list(pairs.values()))
    assert joined.image_0.shape == (6, 3, 144, 192)
    assert joined.visible_0.shape == (6, 144, 192)


def test_unknown_regime_is_rejected_with_the_accepted_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    scene = random_scene(smooth_textures(1), generator, rectangles=0)
    with pytest.raises(ConfigurationError, match=r"unknown regime 'fast'.*video"):
        random_pair(scene, generator, 64, 48, "fast")
