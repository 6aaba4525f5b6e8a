"""Keypoint matcher: tokens are the best keypoints of both views, and each has at most one match.

encode: image -> XFeatEncoder or AlikedEncoder -> the best keypoints with their descriptors, once per view.
align:  self- and cross-attention -> assignment -> mutual best matches, once per pair.

Matches are also written to maps at stride 8, in the cells of their keypoints, as input of the decoders.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from iup_pose_ros.model.config import KEYPOINT_ENCODERS, IUPPoseConfig
from iup_pose_ros.model.correspondence import MatchedRays, SoftCorrespondence
from iup_pose_ros.model.keypoint_alignment import KeypointAlignment
from iup_pose_ros.model.keypoints import CELL, KeypointMaps, find_keypoints
from iup_pose_ros.model.precision import full_precision
from iup_pose_ros.model.ray_matches import CERTAIN_SIGMA, RayMatches, chosen
from iup_pose_ros.model.rays import intrinsics_at_stride, unit_rays, vector_like
from iup_pose_ros.model.realignment import AlignedPair

MATCHES = 512  # maximum number of matches for the pose solver, most probable ones first
NOISE = 0.6  # standard deviation of a correct match, pixels of the network input
MINIMUM_PROBABILITY = 1e-3


class KeypointFeatures(NamedTuple):
    """Keypoints of one view. They do not depend on the other view, so those of a keyframe can be cached.

    Attributes:
        cells: (B, N) row-major index of their cells at stride 8, ascending.
        pixels: (B, N, 2) sub-pixel columns and rows in the network's input image.
        descriptors: (B, N, D), unit.
        rays: (B, N, 3), unit viewing rays of the keypoints.
        maps: unit descriptors (B, D, H/8, W/8) of all cells; D = 0 where no decoders run.
        intrinsics: camera matrix (B, 3, 3) of the network's input image.
    """

    cells: Tensor
    pixels: Tensor
    descriptors: Tensor
    rays: Tensor
    maps: Tensor
    intrinsics: Tensor

    @property
    def positions(self) -> Tensor:
        """(B, N, 2), position relative to the image centre, in units of half the longer side."""
        height, width = self.maps.shape[-2:]
        size = CELL * vector_like(self.pixels, width, height)
        return (2.0 * self.pixels - size) / size.max()


class KeypointMatcher(nn.Module):
    """Matcher of images by attention between keypoints.

    Attributes:
        token_channels, token_stride: number of channels and stride of the aligned token maps.
        decoder_stride: stride of the decoders' input maps.
    """

    token_stride = CELL
    decoder_stride = 4 * CELL

    def __init__(self, config: IUPPoseConfig) -> None:
        super().__init__()
        self.tokens = config.tokens
        self.decoders = config.decoders
        self.encoder = KEYPOINT_ENCODERS[config.encoder]()
        self.token_channels = self.encoder.descriptor_size + config.width
        self.alignment = KeypointAlignment(
            self.encoder.descriptor_size,
            config.width,
            config.heads,
            config.alignment_layers,
            config.kept_tokens,
        )

    @property
    def _fills_maps(self) -> bool:
        """Return whether the maps of descriptors and tokens are computed, which decoders and training use."""
        return self.decoders or self.training

    def encode(self, image: Tensor, intrinsics: Tensor) -> KeypointFeatures:
        """Detect the keypoints of one view: image (B, 3, H, W), camera matrices (B, 3, 3)."""
        maps = self.encoder(image)
        cells, pixels = find_keypoints(maps, self.tokens, self.encoder.position_radius)
        with full_precision(image):
            descriptors = functional.normalize(self.encoder.describe(maps, pixels), dim=2)
            rays = rays_through(pixels, intrinsics)
            return KeypointFeatures(cells, pixels, descriptors, rays, self._dense(maps), intrinsics)

    def _dense(self, maps: KeypointMaps) -> Tensor:
        """Return ``KeypointFeatures.maps``."""
        if not self._fills_maps:
            batch, height, width = maps.scores.shape
            return maps.scores.new_empty(batch, 0, height // CELL, width // CELL)
        return functional.normalize(self.encoder.describe_cells(maps).float(), dim=1)

    def align(self, features_0: KeypointFeatures, features_1: KeypointFeatures) -> AlignedPair:
        """Compute the aligned tokens and matches of a pair."""
        aligned = self.alignment(
            features_0.descriptors, features_0.positions, features_1.descriptors, features_1.positions
        )
        with full_precision(aligned.log_probability):
            best_0, best_1, probability = mutual_matches(aligned.log_probability, MATCHES)
            index_0, index_1 = aligned.kept_0.gather(1, best_0), aligned.kept_1.gather(1, best_1)
            rays_0, rays_1 = chosen(features_0.rays, index_0), chosen(features_1.rays, index_1)
            noise = NOISE / (_focal_length(features_0) * _focal_length(features_1)).sqrt()
            matches = RayMatches(rays_0, rays_1, noise.square()[:, None].expand_as(probability), probability)
            correspondence = SoftCorrespondence(
                _on_cells(features_0, index_0, rays_0, rays_1, probability),
                _on_cells(features_1, index_1, rays_1, rays_0, probability),
                aligned.log_probability,
            )
        return AlignedPair(
            features_0.intrinsics,
            features_1.intrinsics,
            self._token_map(features_0, aligned.kept_0, aligned.tokens_0),
            self._token_map(features_1, aligned.kept_1, aligned.tokens_1),
            correspondence,
            (correspondence,),
            matches,
            aligned,
        )

    def _token_map(self, features: KeypointFeatures, kept: Tensor, tokens: Tensor) -> Tensor:
        """Return a map (B, D + C, H/8, W/8) of the cells' descriptors and their keypoints' tokens."""
        if not self._fills_maps:
            return features.maps
        empty = tokens.new_zeros(len(tokens), tokens.shape[2], *features.maps.shape[-2:])
        return torch.cat([features.maps, _scattered(empty, features.cells.gather(1, kept), tokens)], dim=1)


def mutual_matches(log_probability: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Select the most probable mutual matches.

    Returns:
        Indices (B, n) of the keypoints of view 0, ascending, and of view 1, n <= ``count``, and probabilities
        (B, n) of the matches; entries that are no mutual match have MINIMUM_PROBABILITY.
    """
    best_0, best_1 = log_probability.max(dim=2), log_probability.max(dim=1)
    own = torch.arange(best_0.indices.shape[1], device=best_0.indices.device)
    mutual = best_1.indices.gather(1, best_0.indices) == own
    certain = torch.where(mutual, best_0.values.exp(), 0.0)
    probability = MINIMUM_PROBABILITY + (1.0 - MINIMUM_PROBABILITY) * certain
    index_0 = probability.topk(min(count, len(own)), dim=1).indices.sort(dim=1).values
    return index_0, best_0.indices.gather(1, index_0), probability.gather(1, index_0)


def rays_through(pixels: Tensor, intrinsics: Tensor) -> Tensor:
    """Return unit viewing rays (B, N, 3) of pixels (B, N, 2) of cameras (B, 3, 3)."""
    focal = torch.stack([intrinsics[:, 0, 0], intrinsics[:, 1, 1]], dim=1)
    plane = (pixels - intrinsics[:, None, :2, 2]) / focal[:, None]
    return functional.normalize(torch.cat([plane, torch.ones_like(plane[..., :1])], dim=2), dim=2)


def _focal_length(features: KeypointFeatures) -> Tensor:
    return (features.intrinsics[:, 0, 0] * features.intrinsics[:, 1, 1]).sqrt()


def _on_cells(
    features: KeypointFeatures, index: Tensor, own: Tensor, matched: Tensor, probability: Tensor
) -> MatchedRays:
    """Write matches (B, n) to a map of cells; cells without a match get their own ray and confidence 0."""
    height, width = features.maps.shape[-2:]
    centres = unit_rays(intrinsics_at_stride(features.intrinsics, CELL), height, width)
    found = torch.where(probability > MINIMUM_PROBABILITY, probability, 0.0)[..., None]
    spread = CERTAIN_SIGMA * (1.0 / probability - 1.0).clamp(min=1e-6).sqrt()[..., None]
    nothing = torch.zeros_like(centres[:, :1])
    unknown = nothing + CERTAIN_SIGMA / MINIMUM_PROBABILITY**0.5
    cells = features.cells.gather(1, index)
    return MatchedRays(
        _scattered(centres, cells, own),
        _scattered(centres, cells, matched),
        _scattered(nothing, cells, found),
        _scattered(unknown, cells, spread),
    )


def _scattered(cells: Tensor, index: Tensor, values: Tensor) -> Tensor:
    """Return a copy of a map (B, C, H, W) with values (B, n, C) in the cells of index (B, n)."""
    expanded = index[:, None].expand(-1, cells.shape[1], -1)
    return cells.flatten(2).scatter(2, expanded, values.transpose(1, 2)).view_as(cells)
