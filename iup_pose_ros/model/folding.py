"""Folding of linear layers into their neighbours for faster inference."""

from __future__ import annotations

import copy
import itertools
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from iup_pose_ros.model.keypoint_alignment import CrossAttention, MergingUpdate, SelfAttention

Network = TypeVar("Network", bound=nn.Module)


def fold(network: Network) -> Network:
    """Return a copy in evaluation mode that computes the same with fewer layers.

    Convolutions include the batch normalisation after them, and updates of keypoints the merging of the
    messages before them. The parameters of the copy do not fit a checkpoint any more.
    """
    network = copy.deepcopy(network).eval()
    for module in list(network.modules()):
        if isinstance(module, (SelfAttention, CrossAttention)):
            module.update = MergingUpdate(module.merge, module.update)
            module.merge = nn.Identity()
        # Modules define their children in the order of use.
        children = list(module.named_children())
        for (first_name, first), (second_name, second) in itertools.pairwise(children):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                setattr(module, first_name, fuse_conv_bn_eval(first, second))
                setattr(module, second_name, nn.Identity())
    return network
