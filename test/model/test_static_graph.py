"""Encoding and matching fit into a CUDA graph: nothing waits for the GPU, shapes do not depend on images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from iup_pose_ros.model.config import PRESETS
from iup_pose_ros.model.iup_pose import IUPPose

# A number read by the host, a result whose size depends on values, and values copied from the host.
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique", "equal", "lift_fresh")


class Operations(TorchDispatchMode):
    """Records the names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def shapes(values: Any) -> Iterator[torch.Size]:
    if isinstance(values, Tensor):
        yield values.shape
    elif isinstance(values, tuple):
        for value in values:
            yield from shapes(value)


@pytest.mark.parametrize("preset", ["small", "medium", "small_grid"])
def test_encoding_and_matching_do_not_wait_and_have_static_shapes(preset: str) -> None:
    torch.manual_seed(0)
    network = IUPPose(PRESETS[preset]).eval()
    K = torch.tensor([[[100.0, 0.0, 64.0], [0.0, 100.0, 48.0], [0.0, 0.0, 1.0]]])
    found = []
    for image in (torch.zeros(1, 3, 96, 128), torch.rand(1, 3, 96, 128)):
        with torch.no_grad(), Operations() as operations:
            features = network.encode(image, K)
            found.append([*shapes(features), *shapes(network.align(features, features))])
        assert "convolution" in operations.names
        assert not [name for name in operations.names if name in WAITING]
    assert found[0] == found[1]
