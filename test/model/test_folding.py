from __future__ import annotations

import pytest
import torch
from torch import nn

from iup_pose_ros.model.encoder import ENCODERS
from iup_pose_ros.model.folding import fold
from iup_pose_ros.model.keypoint_alignment import KeypointAlignment


@pytest.mark.parametrize("name", ENCODERS)
def test_a_folded_encoder_computes_the_same_without_normalisation(name: str) -> None:
    torch.manual_seed(0)
    encoder = ENCODERS[name]()
    image = torch.rand(2, 5, 64, 96)
    with torch.no_grad():
        encoder.train()(image)  # statistics other than those of a new layer
        expected = encoder.eval()(image)
        lighter = fold(encoder)
        for found, layer in zip(lighter(image), expected, strict=True):
            assert torch.allclose(found, layer, atol=1e-4 * float(layer.abs().max()))
    assert _normalisations(lighter) == 0


def test_a_folded_alignment_computes_the_same_without_merging_layers() -> None:
    torch.manual_seed(0)
    alignment = KeypointAlignment(descriptor_size=16, channels=24, heads=2, layers=3, kept=12).eval()
    descriptors, positions = torch.randn(2, 2, 20, 16), torch.rand(2, 2, 20, 2)
    arguments = descriptors[0], positions[0], descriptors[1], positions[1]
    with torch.no_grad():
        expected = alignment(*arguments)
        lighter = fold(alignment)
        found = lighter(*arguments)
    assert torch.equal(found.kept_0, expected.kept_0)
    assert torch.allclose(found.log_probability, expected.log_probability, atol=1e-4)
    assert not [name for name, _ in lighter.named_parameters() if ".merge." in name]


def test_the_original_stays_as_it_is() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    names = list(network.state_dict())
    fold(network)
    assert list(network.state_dict()) == names
    assert network.training


def _normalisations(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
