"""Decoder input: features and geometry of a pair, realigned by the input pose, and the condition of FiLM.

Realignment is the homography warp (HW in Fig. 2) of view 1 to the grid of view 0.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from iup_pose_ros.model.alignment import MATCH_STRIDE
from iup_pose_ros.model.correspondence import MatchedRays, SoftCorrespondence
from iup_pose_ros.model.homography_warp import homography_warp
from iup_pose_ros.model.keypoint_alignment import AlignedKeypoints
from iup_pose_ros.model.ray_matches import RayMatches
from iup_pose_ros.model.rays import intrinsics_at_stride, rotate, vector_like

CERTAIN_SIGMA = 0.005  # radians, sigma of a match at which its certainty is one half
RESIDUAL_SCALE = 10.0  # parallax is about 0.1 rad; scaled to the order of 1
CONDITION_SIZE = 2 * 4 + 9 + 3 + 3 + 1


class AlignedPair(NamedTuple):
    """Output of a matcher: both views after IDA.

    Attributes:
        intrinsics_0, intrinsics_1: camera matrices (B, 3, 3) of the network's input images.
        aligned_0, aligned_1: token maps (B, C, H_v/s, W_v/s) at the matcher's ``token_stride`` s, the input
            of the decoders; the keypoint matcher leaves them empty, C = 0, where no decoders run.
        correspondence: soft correspondence before refinement.
        refined: soft correspondence after every round of refinement.
        matches: input of the pose solver.
        keypoints: aligned keypoints; None for the grid matcher.
    """

    intrinsics_0: Tensor
    intrinsics_1: Tensor
    aligned_0: Tensor
    aligned_1: Tensor
    correspondence: SoftCorrespondence
    refined: tuple[SoftCorrespondence, ...]
    matches: RayMatches
    keypoints: AlignedKeypoints | None = None

    @property
    def best(self) -> SoftCorrespondence:
        """Soft correspondence after the last round."""
        return self.refined[-1]


class PoseState(NamedTuple):
    """Estimate of the pose and its standard deviations between stages.

    Attributes:
        R_1_0: (B, 3, 3).
        direction: (B, 3), unit direction of translation in view 0's frame, R_1_0^T t_1_0; zero where unknown.
        sigma_R: (B, 3) standard deviations of delta in R_true = R_1_0 Exp(delta), radians.
        sigma_t: (B, 1) standard deviation of the direction per axis of its tangent plane, radians.
    """

    R_1_0: Tensor
    direction: Tensor
    sigma_R: Tensor
    sigma_t: Tensor


def describe_condition(pair: AlignedPair, pose: PoseState) -> Tensor:
    """Return the condition (B, CONDITION_SIZE) of FiLM: both cameras, the input pose and its log sigmas."""
    cameras = [
        _describe_camera(pair.intrinsics_0, pair.best.view_0.own),
        _describe_camera(pair.intrinsics_1, pair.best.view_1.own),
    ]
    log_sigmas = torch.cat([pose.sigma_R, pose.sigma_t], dim=1).log()
    return torch.cat([*cameras, pose.R_1_0.flatten(1), pose.direction, log_sigmas], dim=1)


def _describe_camera(intrinsics: Tensor, cells: Tensor) -> Tensor:
    """Return tangents (B, 4) of half the field of view and of the image centre's offset in angle."""
    scaled = intrinsics_at_stride(intrinsics, MATCH_STRIDE)
    focal = torch.stack([scaled[:, 0, 0], scaled[:, 1, 1]], dim=1)
    size = vector_like(focal, cells.shape[-1], cells.shape[-2])
    return torch.cat([0.5 * size / focal, (0.5 * (size - 1.0) - scaled[:, :2, 2]) / focal], dim=1)


class Realignment(nn.Module):
    """Homography warp of view 1 and embedding of the geometry, (B, V=2, C, H_0/s, W_0/s).

    Tokens are warped at their own stride and geometry at stride 8, the stride of matches; both are then
    embedded at the decoders' stride s. Without matched rays the geometry is the ray of each cell only.

    Args:
        token_channels, token_stride: number of channels and stride of the aligned maps.
        channels, stride: C and s of the decoders' input.
        matched_rays: whether the geometry includes the matches.
    """

    def __init__(
        self, token_channels: int, token_stride: int, channels: int, stride: int, matched_rays: bool
    ) -> None:
        super().__init__()
        self.matched_rays = matched_rays
        self.token_stride = token_stride
        block, pooled = stride // MATCH_STRIDE, stride // token_stride
        self.embed = nn.Conv2d(9 if matched_rays else 4, channels, block, block)
        is_identity = token_channels == channels and pooled == 1
        self.pool = nn.Identity() if is_identity else nn.Conv2d(token_channels, channels, pooled, pooled)

    def forward(self, pair: AlignedPair, pose: PoseState) -> Tensor:
        """Return the features of both views on the grid of view 0, view 1 rotated by the input pose."""
        tokens_1, _ = _warp(pair, pair.aligned_1, self.token_stride, pose, like=pair.aligned_0)
        # Geometry of each view on its own grid, in the frame of view 0.
        view_0, view_1, R_0_1 = pair.best.view_0, pair.best.view_1, pose.R_1_0.transpose(1, 2)
        geometry_0, geometry_1 = view_0.own, rotate(R_0_1, view_1.own)
        if self.matched_rays:
            geometry_0 = _match_channels(view_0.own, rotate(R_0_1, view_0.matched), view_0)
            geometry_1 = _match_channels(view_1.matched, geometry_1, view_1)
        geometry_1, mask = _warp(pair, geometry_1, MATCH_STRIDE, pose, like=geometry_0)
        embedded_0 = self.embed(torch.cat([geometry_0, torch.ones_like(mask)], dim=1))
        embedded_1 = self.embed(torch.cat([geometry_1, mask], dim=1))
        views = [self.pool(pair.aligned_0) + embedded_0, self.pool(tokens_1) + embedded_1]
        return torch.stack(views, dim=1)


def _match_channels(rays_0: Tensor, rays_1: Tensor, matches: MatchedRays) -> Tensor:
    """Return channels (B, 8, H, W): ray in view 0, scaled residual to view 1, confidence and certainty."""
    residual = RESIDUAL_SCALE * (rays_1 - rays_0)
    certainty = 1.0 / (1.0 + (matches.spread / CERTAIN_SIGMA).square())
    return torch.cat([rays_0, residual, matches.confidence, certainty], dim=1)


def _warp(
    pair: AlignedPair, field_1: Tensor, stride: int, pose: PoseState, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Warp a field of view 1 at a stride to the grid of ``like``, a field of view 0; return also the mask."""
    intrinsics_0 = intrinsics_at_stride(pair.intrinsics_0, stride)
    intrinsics_1 = intrinsics_at_stride(pair.intrinsics_1, stride)
    height, width = like.shape[-2:]
    return homography_warp(field_1, intrinsics_0, intrinsics_1, pose.R_1_0, (height, width))
