"""Batches of clusters as tensors, and the ordered pairs in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from iup_pose_ros.datasets.matched_scenes import PointMatches
from iup_pose_ros.training.data.cluster import Cluster


class SparseMatches(NamedTuple):
    """True matches of C pairs, padded to the maximum number M.

    Attributes:
        pixels_0, pixels_1: (C, M, 2) float32 columns and rows of the same points in both views.
        depth_0, depth_1: (C, M) float32, along the optical axis of each camera, in the unit of the pair's t.
        known: (C, M) bool, false for padding.
    """

    pixels_0: Tensor
    pixels_1: Tensor
    depth_0: Tensor
    depth_1: Tensor
    known: Tensor

    @classmethod
    def padded(cls, matches: Sequence[PointMatches]) -> SparseMatches:
        """Stack the matches of the clusters of a batch, padded to the same number."""
        names = ("pixels_0", "pixels_1", "depth_0", "depth_1")
        arrays = [[torch.from_numpy(getattr(pair, name)) for pair in matches] for name in names]
        known = [torch.ones(len(pair), dtype=torch.bool) for pair in matches]
        return cls(*(pad_sequence(values, batch_first=True) for values in (*arrays, known)))


@dataclass(frozen=True, eq=False)
class ClusterBatch:
    """C clusters of V views of one size.

    Attributes:
        images: (C, V, 3, H, W) uint8 RGB.
        K: (C, V, 3, 3) float32, pixel (0, 0) at the centre of the top-left pixel.
        T_world_camera: (C, V, 4, 4) float32, optical frames; a cluster's first camera is near the origin.
        depth: (C, V, H, W) float16, metres along the optical axis; infinite: sky; 0: unknown.
        overlap: (C, V, V) float32, fraction of the surfaces in view i (row) visible in view j (column).
        valid: (C, V, V) bool, whether (i, j) is a training pair: view 0 is i, view 1 is j.
        metric: (C,) bool, whether lengths are in metres.
        regimes, scenes: name of the motion regime and of the scene of each cluster.
        index: index of the batch in its stream.
        matches: true matches of view 0 with view 1 of each cluster of photographs; else None.
    """

    images: Tensor
    K: Tensor
    T_world_camera: Tensor
    depth: Tensor
    overlap: Tensor
    valid: Tensor
    metric: Tensor
    regimes: tuple[str, ...]
    scenes: tuple[str, ...]
    index: int
    matches: SparseMatches | None = None

    @classmethod
    def from_clusters(cls, clusters: Sequence[Cluster], index: int) -> ClusterBatch:
        """Create a batch from clusters with the same number of views and the same image size."""
        images = torch.from_numpy(np.stack([cluster.images for cluster in clusters]))
        matches = [cluster.matches for cluster in clusters if cluster.matches is not None]
        return cls(
            images=images.movedim(-1, 2).contiguous(),
            K=_stacked([cluster.K for cluster in clusters], torch.float32),
            T_world_camera=_stacked([cluster.T_world_camera for cluster in clusters], torch.float32),
            depth=_stacked([cluster.depth for cluster in clusters], torch.float16),
            overlap=_stacked([cluster.overlap for cluster in clusters], torch.float32),
            valid=_stacked([cluster.valid for cluster in clusters], torch.bool),
            metric=torch.tensor([cluster.metric for cluster in clusters]),
            regimes=tuple(cluster.regime for cluster in clusters),
            scenes=tuple(cluster.scene for cluster in clusters),
            index=index,
            matches=SparseMatches.padded(matches) if matches else None,
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ClusterBatch:
        """Return a copy on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> ClusterBatch:
        """Return a copy in page-locked memory, for asynchronous copies to a GPU."""
        return self._map(lambda tensor: tensor.pin_memory())

    def pairs(self, maximum: int | None = None, generator: torch.Generator | None = None) -> PairBatch:
        """Return the training pairs of all clusters, or at most ``maximum`` random ones of each cluster."""
        valid = self.valid
        if maximum is not None:
            score = torch.rand(valid.shape, generator=generator).to(valid.device) * valid
            rank = score.flatten(1).argsort(dim=1, descending=True).argsort(dim=1).reshape(valid.shape)
            valid = valid & (rank < maximum)
        return self.select(valid.nonzero())

    def select(self, pairs: Tensor) -> PairBatch:
        """Return the pairs with indices (P, 3) of cluster, view 0 and view 1."""
        cluster, first, second = pairs.unbind(dim=1)
        views = self.images.shape[1]
        poses = [self.T_world_camera[cluster, view].double() for view in (first, second)]
        R_1_world = poses[1][:, :3, :3].transpose(1, 2)
        offset = poses[0][:, :3, 3] - poses[1][:, :3, 3]
        return PairBatch(
            view_0=cluster * views + first,
            view_1=cluster * views + second,
            R_1_0=(R_1_world @ poses[0][:, :3, :3]).float(),
            t_1_0=(R_1_world @ offset[..., None])[..., 0].float(),
            overlap=torch.minimum(self.overlap[cluster, first, second], self.overlap[cluster, second, first]),
        )

    def _map(self, change: Callable[[Tensor], Tensor]) -> ClusterBatch:
        values: dict[str, Any] = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        tensors: dict[str, Any] = {
            name: change(value) for name, value in values.items() if isinstance(value, Tensor)
        }
        if self.matches is not None:
            tensors["matches"] = SparseMatches(*map(change, self.matches))
        return ClusterBatch(**{**values, **tensors})


@dataclass(frozen=True, eq=False)
class PairBatch:
    """P ordered pairs of views of a batch.

    Attributes:
        view_0, view_1: (P,), indices of ``batch.images.flatten(0, 1)``, and of K and depth likewise.
        R_1_0: (P, 3, 3), t_1_0: (P, 3): X_1 = R_1_0 X_0 + t_1_0; exactly 0 where the camera does not move.
        overlap: (P,), minimum of the overlap in both directions.
    """

    view_0: Tensor
    view_1: Tensor
    R_1_0: Tensor
    t_1_0: Tensor
    overlap: Tensor

    def __len__(self) -> int:
        return len(self.view_0)


def _stacked(arrays: Sequence[np.ndarray], dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.stack(arrays)).to(dtype)
