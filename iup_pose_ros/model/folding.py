"""Folding of batch normalisation into the preceding convolutions for faster inference."""

from __future__ import annotations

import copy
import itertools
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Network = TypeVar("Network", bound=nn.Module)


def fold_batch_norm(network: Network) -> Network:
    """Return a copy in evaluation mode whose convolutions include the batch normalisation after them.

    The parameters of the copy do not fit a checkpoint any more.
    """
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        # Modules define their children in the order of use.
        children = list(module.named_children())
        for (first_name, first), (second_name, second) in itertools.pairwise(children):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                setattr(module, first_name, fuse_conv_bn_eval(first, second))
                setattr(module, second_name, nn.Identity())
    return network
