"""IUP-Pose (Fig. 2): decoupled iterative uncertainty propagation for relative pose regression.

encode: image -> features, once per view.
match:  IDA (MHBC) -> matches -> RD stage 1 -> HW -> RD stage 2 -> RF -> HW -> TD, once per pair. A pose
        solved from the matches can initialise stage 1; it is returned where the matches contradict the
        decoders.

Encoder and IDA form a matcher: ``GridMatcher``, dense attention as in the paper, or ``KeypointMatcher``,
attention between keypoints.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from iup_pose_ros.model.alignment import Features
from iup_pose_ros.model.config import KEYPOINT_ENCODERS, IUPPoseConfig
from iup_pose_ros.model.correspondence import SoftCorrespondence
from iup_pose_ros.model.decoder import PoseDecoder
from iup_pose_ros.model.grid_matching import GridMatcher
from iup_pose_ros.model.keypoint_matching import KeypointFeatures, KeypointMatcher
from iup_pose_ros.model.pose_solver import fall_back_to_solved, solve_pose
from iup_pose_ros.model.realignment import AlignedPair, PoseState, Realignment, describe_condition
from iup_pose_ros.model.rotations import perturb, rotate_vectors, rotation_error
from iup_pose_ros.model.sigma_bounds import bounded_sigma

ViewFeatures = Features | KeypointFeatures
"""Features of one view; the type depends on the matcher."""

DECODERS = ("realignment", "rotation_decoder", "translation_decoder")
"""Modules that run in training only if the network's ``config.decoders`` is false."""
INPUT_MULTIPLE = 32
MINIMUM_SIGMA, MAXIMUM_SIGMA = 3e-4, 3.0


class PosePrediction(NamedTuple):
    """Relative pose of a batch of pairs: X_1 = R_1_0 X_0 + s t_1_0 in optical frames, scale s unknown.

    Attributes:
        R_1_0: (B, 3, 3).
        t_1_0: (B, 3), unit length.
        sigma_R: (B, 3), radians: R_true = R_1_0 Exp(delta), delta ~ N(0, diag(sigma_R^2)).
        sigma_t: (B,), radians: standard deviation of the direction per axis of the tangent plane at t_1_0.
        R_stage1, sigma_stage1, R_stage2, sigma_stage2: output of the rotation stages. R_1_0 and sigma_R are
            their fusion, except where the matches contradict it (``fall_back_to_solved``).
        correspondence: soft matches of both views (rays and confidence) before refinement.
        refined: soft matches after every round of refinement; the last ones are the best.
    """

    R_1_0: Tensor
    t_1_0: Tensor
    sigma_R: Tensor
    sigma_t: Tensor
    R_stage1: Tensor
    sigma_stage1: Tensor
    R_stage2: Tensor
    sigma_stage2: Tensor
    correspondence: SoftCorrespondence
    refined: tuple[SoftCorrespondence, ...]


class RotationFusion(nn.Module):
    """Rotation fusion (RF in Fig. 2): inverse-variance mean in the tangent space of the second rotation."""

    def forward(self, R_1: Tensor, sigma_1: Tensor, R_2: Tensor, sigma_2: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse rotations (B, 3, 3) with standard deviations (B, 3); return rotation and standard deviations.

        Stage 2 starts from stage 1, so their errors have an unknown correlation. The fused standard deviation
        is that of full correlation, an upper bound.
        """
        precision_1, precision_2 = sigma_1.square().reciprocal(), sigma_2.square().reciprocal()
        weight_1 = precision_1 / (precision_1 + precision_2)
        offset = rotation_error(R_2, R_1)
        sigma = weight_1 * sigma_1 + (1.0 - weight_1) * sigma_2
        return perturb(R_2, weight_1 * offset), sigma


class IUPPose(nn.Module):
    """The complete network. Images (B, 3, H, W) in [0, 1], H and W multiples of 32; K (B, 3, 3) in pixels."""

    def __init__(self, config: IUPPoseConfig) -> None:
        super().__init__()
        self.config = config
        matcher = KeypointMatcher if config.encoder in KEYPOINT_ENCODERS else GridMatcher
        self.matcher: KeypointMatcher | GridMatcher = matcher(config)
        self.realignment = Realignment(
            self.matcher.token_channels,
            self.matcher.token_stride,
            config.width,
            self.matcher.decoder_stride,
            config.matched_rays,
        )
        decoder = (config.width, config.bottleneck, config.head_width, config.experts)
        self.rotation_decoder = PoseDecoder(*decoder, sigmas=3, initial_std=0.01)
        # Without an initial direction, an output near zero would make the direction depend on rounding.
        first_direction = 0.01 if config.initial_pose == "solve" else 0.5
        self.translation_decoder = PoseDecoder(*decoder, sigmas=1, initial_std=first_direction)
        self.rotation_fusion = RotationFusion()

    def remove_decoders(self) -> None:
        """Remove the decoders of a network that is not trained and runs without them."""
        for name in DECODERS:
            setattr(self, name, nn.Identity())

    def forward(self, image_0: Tensor, K_0: Tensor, image_1: Tensor, K_1: Tensor) -> PosePrediction:
        """Estimate the pose of view 0's camera in the frame of view 1 for a batch of pairs."""
        return self.match(self.encode(image_0, K_0), self.encode(image_1, K_1))

    def encode(self, image: Tensor, intrinsics: Tensor) -> ViewFeatures:
        """Compute the features of one view, for any number of pairs.

        Raises:
            ValueError: height or width is not a multiple of ``INPUT_MULTIPLE``.
        """
        height, width = image.shape[-2:]
        if height % INPUT_MULTIPLE or width % INPUT_MULTIPLE:
            raise ValueError(f"image is {width}x{height}; multiples of {INPUT_MULTIPLE} are required")
        return self.matcher.encode(image, intrinsics.float())

    def match(self, features_0: ViewFeatures, features_1: ViewFeatures) -> PosePrediction:
        """Estimate the pose of a pair from the features of its views."""
        return self.decode(self.align(features_0, features_1))

    def align(self, features_0: ViewFeatures, features_1: ViewFeatures) -> AlignedPair:
        """Align and match a pair (IDA): the part of ``match`` before pose estimation."""
        # The features come from the same matcher.
        pair: AlignedPair = self.matcher.align(features_0, features_1)  # type: ignore[arg-type]
        return pair

    def decode(self, pair: AlignedPair) -> PosePrediction:
        """Estimate the pose of an aligned pair."""
        # 1. Initial pose: identity without direction, or solved from the matches.
        batch, device = len(pair.aligned_0), pair.aligned_0.device
        identity = torch.eye(3, device=device).expand(batch, 3, 3)
        sigma_R = torch.full((batch, 3), self.config.prior_sigma_rotation, device=device)
        sigma_t = torch.full((batch, 1), self.config.prior_sigma_direction, device=device)
        start = PoseState(identity, torch.zeros_like(sigma_R), sigma_R, sigma_t)
        if self.config.initial_pose == "solve":
            start = solve_pose(pair.matches, start)
        if not (self.config.decoders or self.training):
            return _prediction(pair, start, start, start)
        # 2. Two rotation stages and their fusion.
        stage_1 = self._rotate(pair, start)
        stage_2 = self._rotate(pair, stage_1)
        R_final, sigma_R = self.rotation_fusion(
            stage_1.R_1_0, stage_1.sigma_R, stage_2.R_1_0, stage_2.sigma_R
        )
        # 3. Translation stage; the direction is in the frame of view 0, like the realigned features.
        rotated = stage_2._replace(R_1_0=R_final, sigma_R=sigma_R)
        views, condition = self.realignment(pair, rotated), describe_condition(pair, rotated)
        increment, change = self.translation_decoder(views, condition)
        direction = functional.normalize(rotated.direction + rotated.sigma_t * increment, dim=1)
        final = rotated._replace(direction=direction, sigma_t=_propagated(rotated.sigma_t, change))
        # The fallback is not used in training: its gradient would not reach the decoders.
        if self.config.initial_pose == "solve" and not self.training:
            final = fall_back_to_solved(pair.matches, final, start)
        return _prediction(pair, final, stage_1, stage_2)

    def _rotate(self, pair: AlignedPair, pose: PoseState) -> PoseState:
        """Run a rotation stage: R_out = R_in Exp(sigma_in increment); confident poses change little."""
        increment, change = self.rotation_decoder(
            self.realignment(pair, pose), describe_condition(pair, pose)
        )
        R_1_0 = perturb(pose.R_1_0, pose.sigma_R * increment)
        return pose._replace(R_1_0=R_1_0, sigma_R=_propagated(pose.sigma_R, change))


def _propagated(sigma: Tensor, change: Tensor) -> Tensor:
    """Return standard deviations after adding a change to their logarithms."""
    return bounded_sigma(sigma.log() + change, MINIMUM_SIGMA, MAXIMUM_SIGMA)


def _prediction(
    pair: AlignedPair, final: PoseState, stage_1: PoseState, stage_2: PoseState
) -> PosePrediction:
    return PosePrediction(
        R_1_0=final.R_1_0,
        t_1_0=rotate_vectors(final.R_1_0, final.direction),
        sigma_R=final.sigma_R,
        sigma_t=final.sigma_t[:, 0],
        R_stage1=stage_1.R_1_0,
        sigma_stage1=stage_1.sigma_R,
        R_stage2=stage_2.R_1_0,
        sigma_stage2=stage_2.sigma_R,
        correspondence=pair.correspondence,
        refined=pair.refined,
    )
