from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.model.aliked_encoder import BORDER, PATCH, POSITIONS, AlikedEncoder

HEIGHT, WIDTH = 64, 96


@pytest.fixture(scope="module")
def encoder() -> AlikedEncoder:
    torch.manual_seed(0)
    return AlikedEncoder().eval()


@pytest.fixture(scope="module")
def image() -> Tensor:
    coarse = torch.rand(1, 3, HEIGHT // 8, WIDTH // 8, generator=torch.Generator().manual_seed(1))
    return functional.interpolate(coarse, scale_factor=8, mode="bilinear")


def upsampled(levels: tuple[Tensor, ...]) -> Tensor:
    """Features of all strides at full resolution, as the paper describes them."""
    size = (HEIGHT, WIDTH)
    parts = [functional.interpolate(x, size=size, mode="bilinear", align_corners=True) for x in levels]
    return torch.cat(parts, dim=1)


def test_scores_are_those_of_upsampled_features(encoder: AlikedEncoder, image: Tensor) -> None:
    with torch.inference_mode():
        maps = encoder(image)
        expected = encoder.score(encoder.score_entry(upsampled(maps.levels)))[:, 0].sigmoid()
    inside = (slice(None), slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    assert torch.allclose(maps.scores[inside], expected[inside], atol=1e-5)
    assert maps.scores.shape == (1, HEIGHT, WIDTH)
    assert float(maps.scores[:, :BORDER].abs().max()) == 0.0
    assert float(maps.scores[..., -BORDER:].abs().max()) == 0.0


def test_a_descriptor_combines_features_at_estimated_offsets(encoder: AlikedEncoder, image: Tensor) -> None:
    """At whole offsets from whole pixels, sampling each stride equals sampling the upsampled features."""
    offsets = torch.randint(-3, 4, (2 * POSITIONS,), generator=torch.Generator().manual_seed(2)).float()
    last = encoder.offsets[2]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(offsets)
    pixels = torch.tensor([[[20.0, 30.0], [50.0, 12.0]]])
    with torch.inference_mode():
        maps = encoder(image)
        dense = functional.normalize(upsampled(maps.levels), dim=1)[0]
        found = encoder.describe(maps, pixels)[0]
        for point, descriptor in zip(pixels[0].long(), found, strict=True):
            columns, rows = point[0] + offsets[:POSITIONS].long(), point[1] + offsets[POSITIONS:].long()
            features = functional.selu(encoder.at_position(dense[:, rows, columns].T))
            assert torch.allclose(descriptor, encoder.combination(features.flatten()), atol=1e-4)


def test_offsets_depend_on_the_neighbourhood_of_the_keypoint(encoder: AlikedEncoder, image: Tensor) -> None:
    seen: list[Tensor] = []
    hook = encoder.offsets.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.inference_mode():
        maps = encoder(image)
        encoder.describe(maps, torch.tensor([[[40.7, 33.2]]]))
        patch = functional.normalize(upsampled(maps.levels), dim=1)[0, :, 32:35, 39:42]
    hook.remove()
    assert torch.allclose(seen[0][0, 0].view(PATCH, PATCH, -1).permute(2, 0, 1), patch, atol=1e-5)


def test_keypoints_at_the_edge_have_descriptors(encoder: AlikedEncoder, image: Tensor) -> None:
    corners = torch.tensor([[[0.0, 0.0], [WIDTH - 1.0, HEIGHT - 1.0]]])
    with torch.inference_mode():
        assert bool(encoder.describe(encoder(image), corners).isfinite().all())
