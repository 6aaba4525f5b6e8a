from __future__ import annotations

import pytest
import torch
from torch import nn

from iup_pose_ros.model.encoder import ENCODERS
from iup_pose_ros.model.folding import fold_batch_norm


@pytest.mark.parametrize("name", ENCODERS)
def test_a_folded_encoder_computes_the_same_without_normalisation(name: str) -> None:
    torch.manual_seed(0)
    encoder = ENCODERS[name]()
    image = torch.rand(2, 5, 64, 96)
    with torch.no_grad():
        encoder.train()(image)  # statistics other than those of a new layer
        expected = encoder.eval()(image)
        lighter = fold_batch_norm(encoder)
        for found, layer in zip(lighter(image), expected, strict=True):
            assert torch.allclose(found, layer, atol=1e-4 * float(layer.abs().max()))
    assert _normalisations(lighter) == 0


def test_the_original_stays_as_it_is() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    names = list(network.state_dict())
    fold_batch_norm(network)
    assert list(network.state_dict()) == names
    assert network.training


def _normalisations(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
