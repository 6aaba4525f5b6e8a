"""Grid matcher: every cell of one view attends to every cell of the other (IDA of the paper).

encode: image + coordinates -> ResNet or MobileNetV2 -> SPPF, once per view.
align:  MHBC at stride 16 -> soft correspondence at stride 8 -> refinement at strides 4 and 2, once per pair.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iup_pose_ros.model.alignment import TOKEN_STRIDE, FeatureNeck, Features, ImplicitDenseAlignment
from iup_pose_ros.model.config import IUPPoseConfig
from iup_pose_ros.model.correspondence import CorrespondenceHead
from iup_pose_ros.model.encoder import ENCODERS
from iup_pose_ros.model.match_refinement import MatchRefinement
from iup_pose_ros.model.ray_matches import matches_of_cells
from iup_pose_ros.model.rays import normalised_coordinates
from iup_pose_ros.model.realignment import AlignedPair


class GridMatcher(nn.Module):
    """Matcher of images by dense attention.

    Attributes:
        token_channels, token_stride: number of channels and stride of the aligned token maps.
        decoder_stride: stride of the decoders' input maps.
    """

    token_stride = decoder_stride = TOKEN_STRIDE

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: IUPPoseConfig) -> None:
        super().__init__()
        self.token_channels = config.width
        self.encoder = ENCODERS[config.encoder]()
        self.neck = FeatureNeck(self.encoder.channels, config.width, config.match_dim)
        self.alignment = ImplicitDenseAlignment(config.width, config.heads, config.alignment_layers)
        self.correspondence = CorrespondenceHead(config.width, config.match_dim)
        self.refinement = MatchRefinement()
        for name, values in (("pixel_mean", config.pixel_mean), ("pixel_std", config.pixel_std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def encode(self, image: Tensor, intrinsics: Tensor) -> Features:
        """Compute the features of one view: image (B, 3, H, W), camera matrices (B, 3, 3)."""
        coordinates = normalised_coordinates(intrinsics, *image.shape[-2:])[:, :2]
        normalised = (image - self.pixel_mean) / self.pixel_std
        pyramid = self.encoder(torch.cat([normalised, coordinates.to(image.dtype)], dim=1))
        features: Features = self.neck(pyramid, intrinsics)
        return features

    def align(self, features_0: Features, features_1: Features) -> AlignedPair:
        """Compute the aligned tokens and matches of a pair."""
        aligned_0, aligned_1 = self.alignment(features_0, features_1)
        correspondence = self.correspondence(features_0, features_1, aligned_0, aligned_1)
        refined = self.refinement(correspondence, features_0, features_1)
        return AlignedPair(
            features_0.intrinsics,
            features_1.intrinsics,
            aligned_0,
            aligned_1,
            correspondence,
            refined,
            matches_of_cells(refined[-1]),
        )
