"""Network and loss in one module, as Fabric requires."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from iup_pose_ros.model.iup_pose import IUPPose, ViewFeatures
from iup_pose_ros.model.keypoint_matching import KeypointFeatures
from iup_pose_ros.model.precision import full_precision
from iup_pose_ros.model.realignment import AlignedPair
from iup_pose_ros.model.rotations import angle_between, length, rotation_error
from iup_pose_ros.training.data.batches import ClusterBatch, PairBatch, SparseMatches
from iup_pose_ros.training.keypoint_losses import keypoint_loss
from iup_pose_ros.training.keypoint_targets import (
    View,
    target_from_depth,
    target_from_matches,
)
from iup_pose_ros.training.losses import LossWeights, correspondence_loss, pose_loss, refinement_loss
from iup_pose_ros.training.targets import PairTarget
from iup_pose_ros.training.true_keypoints import with_true_keypoints


class StepInput(NamedTuple):
    """Tensors of a batch with N views and P pairs.

    Attributes:
        images, K, depth: of the N views, see ``ClusterBatch``.
        view_0, view_1, R_1_0, t_1_0: of the P pairs, see ``PairBatch``.
        matches: sparse matches of the P pairs of photographs, which have no depth; else None.
    """

    images: Tensor
    K: Tensor
    depth: Tensor
    view_0: Tensor
    view_1: Tensor
    R_1_0: Tensor
    t_1_0: Tensor
    matches: SparseMatches | None = None

    @classmethod
    def of(cls, batch: ClusterBatch, pairs: PairBatch) -> StepInput:
        """Create the input from a batch and some of its pairs."""
        images, K, depth = (tensor.flatten(0, 1) for tensor in (batch.images, batch.K, batch.depth))
        return cls(images, K, depth, pairs.view_0, pairs.view_1, pairs.R_1_0, pairs.t_1_0, batch.matches)

    def to(self, device: torch.device) -> StepInput:
        """Return a copy on another device."""
        matches = self.matches
        if matches is not None:
            matches = SparseMatches(*(tensor.to(device) for tensor in matches))
        moved: Any = {name: getattr(self, name).to(device) for name in self._fields[:-1]}
        return StepInput(**moved, matches=matches)


class StepResult(NamedTuple):
    """Loss (), its unweighted terms (), and the median errors () of the pairs in degrees."""

    loss: Tensor
    pose: Tensor
    correspondence: Tensor
    refinement: Tensor
    rotation_deg: Tensor
    direction_deg: Tensor


class TrainingStep(nn.Module):
    """Network with its loss; every view of a batch is encoded once.

    Args:
        network: network to train.
        weights: weights of the loss.
        mixed: whether to use bfloat16 autocast in the network. Fabric's mixed precision would also round
            camera matrices and ground truth.
    """

    def __init__(self, network: IUPPose, weights: LossWeights, mixed: bool = False) -> None:
        super().__init__()
        self.network = network
        self.weights = weights
        self._mixed = mixed

    def forward(self, given: StepInput, likelihood: float) -> StepResult:
        """Compute the loss of the pairs; ``likelihood`` as in ``losses.pose_loss``."""
        images = given.images.to(memory_format=torch.channels_last).float() / 255.0
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._mixed):
            features = self.network.encode(images, given.K)
            first, second = _chosen(features, given.view_0), _chosen(features, given.view_1)
            if (
                given.matches is not None
                and isinstance(first, KeypointFeatures)
                and isinstance(second, KeypointFeatures)
            ):
                first, second = with_true_keypoints(first, second, given.matches)
            pair = self.network.align(first, second)
            prediction = self.network.decode(pair) if self.weights.pose else None
        with full_precision(images):
            found, refined = _match_losses(pair, first, second, given)
            loss = self.weights.correspondence * found + self.weights.refinement * refined
            pose = rotation = direction = given.K.new_tensor(torch.nan)
            if prediction is not None:
                target = PairTarget(given.R_1_0, given.t_1_0)
                pose = pose_loss(prediction, target, self.weights, likelihood)
                loss = loss + self.weights.pose * pose
                # Median errors; pairs without motion have no direction.
                with torch.no_grad():
                    moves = length(target.t_1_0) > 1e-5
                    angles = torch.where(moves, angle_between(prediction.t_1_0, target.t_1_0), torch.nan)
                    turns = length(rotation_error(prediction.R_1_0, target.R_1_0))
                rotation, direction = turns.median().rad2deg(), angles.nanmedian().rad2deg()
        return StepResult(loss, pose.detach(), found.detach(), refined.detach(), rotation, direction)


def _chosen(features: ViewFeatures, views: Tensor) -> ViewFeatures:
    return type(features)(*(tensor[views] for tensor in features))


def _match_losses(
    pair: AlignedPair, first: ViewFeatures, second: ViewFeatures, given: StepInput
) -> tuple[Tensor, Tensor]:
    """Return the losses () of matches and of refined matches; 0 where not applicable."""
    zero, pose = given.K.new_zeros(()), (given.R_1_0, given.t_1_0)
    K_0, K_1 = given.K[given.view_0], given.K[given.view_1]
    if isinstance(first, KeypointFeatures) and isinstance(second, KeypointFeatures) and pair.keypoints:
        views = View(first.pixels, K_0), View(second.pixels, K_1)
        with torch.no_grad():
            if given.matches is not None:
                truth = target_from_matches(*views, *pose, given.matches)
            else:
                depth = given.depth.float()
                truth = target_from_depth(*views, *pose, depth[given.view_0], depth[given.view_1])
        return keypoint_loss(pair.keypoints, truth), zero
    with torch.no_grad():
        depth = given.depth.float()
        matches = PairTarget.from_depth(*pose, K_0, K_1, depth[given.view_0], depth[given.view_1]).matches
    if matches is None:
        return zero, zero
    return correspondence_loss(pair.correspondence, matches), refinement_loss(pair.refined, matches)
