"""Trajectories, association of their stamps and alignment of their positions. No I/O.

Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI
1991 (alignment).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.directions import NO_MOTION
from iup_pose_ros.geometry.interpolation import interpolated_poses
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array

Indices = NDArray[np.intp]

# Seconds: see Trajectory.at.
_SAME_TIME, _NEAR, _LARGEST_GAP = 1e-3, 1e-2, 0.2


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Poses ``T_world_body`` over time.

    Attributes:
        stamps: (N,) seconds, strictly increasing.
        rotations: (N, 3, 3).
        positions: (N, 3), in metres or in the trajectory's own unit.

    Raises:
        DataError: the arrays do not belong together, a value is not finite, or the stamps do not increase.
    """

    stamps: Array
    rotations: Array
    positions: Array

    def __post_init__(self) -> None:
        count = len(self.stamps)
        shapes = (self.stamps.shape, self.rotations.shape, self.positions.shape)
        if shapes != ((count,), (count, 3, 3), (count, 3)):
            raise DataError(
                f"a trajectory needs arrays of shapes (N,), (N, 3, 3) and (N, 3); these are {shapes}"
            )
        if not all(np.all(np.isfinite(values)) for values in (self.stamps, self.rotations, self.positions)):
            raise DataError("the trajectory holds values that are not finite")
        if np.any(np.diff(self.stamps) <= 0.0):
            index = int(np.argmax(np.diff(self.stamps) <= 0.0)) + 1
            raise DataError(
                f"stamps of a trajectory must increase; pose {index} at {self.stamps[index]:.9f} s follows "
                f"one at {self.stamps[index - 1]:.9f} s"
            )

    @classmethod
    def from_poses(cls, stamps: Sequence[float] | Array, poses: Sequence[Pose]) -> Trajectory:
        """Trajectory of poses ``T_world_body`` at stamps in seconds."""
        rotations = np.array([pose.rotation for pose in poses]).reshape(-1, 3, 3)
        positions = np.array([pose.translation for pose in poses]).reshape(-1, 3)
        return cls(np.asarray(stamps, dtype=np.float64), rotations, positions)

    def __len__(self) -> int:
        return len(self.stamps)

    def pose(self, index: int) -> Pose:
        """``T_world_body`` number ``index``."""
        return Pose(self.rotations[index], self.positions[index])

    def select(self, indices: Indices | Sequence[int]) -> Trajectory:
        """The poses at increasing ``indices``."""
        chosen = np.asarray(indices, dtype=np.intp)
        return Trajectory(self.stamps[chosen], self.rotations[chosen], self.positions[chosen])

    def with_quaternions_reordered(self) -> Trajectory:
        """The path that a file means whose quaternions were read as (x, y, z, w) but are (w, x, y, z)."""
        w, x, y, z = Rotation.from_matrix(self.rotations).as_quat().T
        rotations = Rotation.from_quat(np.stack([x, y, z, w], axis=1)).as_matrix()
        return Trajectory(self.stamps, rotations, self.positions)

    def at(self, stamps: Array) -> Trajectory:
        """The path at those of ``stamps`` (increasing seconds) whose pose it tells.

        A pose within 1 ms is taken as it is, so that ground truth made for the images stays untouched; else
        two poses at most 0.2 s apart are interpolated; else a pose within 10 ms is taken.
        """
        own = self._nearest(stamps, _SAME_TIME)
        between = self._interpolated(np.setdiff1d(stamps, list(own)))
        poses = self._nearest(stamps, _NEAR) | between | own
        known = sorted(poses)
        return Trajectory.from_poses(known, [poses[stamp] for stamp in known])

    def _nearest(self, stamps: Array, limit: float) -> dict[float, Pose]:
        wanted, indices = associate(stamps, self.stamps, limit)
        return {float(stamps[i]): self.pose(int(j)) for i, j in zip(wanted, indices, strict=True)}

    def _interpolated(self, stamps: Array) -> dict[float, Pose]:
        if len(self) < 2:
            return {}
        rotations = Rotation.from_matrix(self.rotations)
        poses = interpolated_poses(self.stamps, rotations, self.positions, stamps, _LARGEST_GAP)
        return {float(stamp): pose for stamp, pose in zip(stamps, poses, strict=True) if pose is not None}

    @property
    def length(self) -> float:
        """Length of the path through the positions."""
        return float(np.linalg.norm(np.diff(self.positions, axis=0), axis=1).sum())


@dataclass(frozen=True, eq=False)
class Alignment:
    """A similarity transform, x -> scale * rotation @ x + translation."""

    scale: float
    rotation: Array
    translation: Array

    def apply(self, trajectory: Trajectory) -> Trajectory:
        """The trajectory expressed in the target's world frame (and unit, unless scale is 1)."""
        positions = self.scale * trajectory.positions @ self.rotation.T + self.translation
        return Trajectory(trajectory.stamps, self.rotation @ trajectory.rotations, positions)


def associate(first: Array, second: Array, max_difference: float) -> tuple[Indices, Indices]:
    """Indices of the stamps that belong together: nearest in time, one to one, in increasing order.

    Args:
        first: (N,) increasing stamps in seconds.
        second: (M,) increasing stamps in seconds.
        max_difference: largest difference in seconds at which two stamps still belong together.

    Returns:
        Two index arrays of one length K, possibly 0, into ``first`` and into ``second``.
    """
    if len(first) == 0 or len(second) == 0:
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    right = np.clip(np.searchsorted(second, first), 1, max(len(second) - 1, 1))
    candidates = np.stack([right - 1, np.minimum(right, len(second) - 1)], axis=1)
    differences = np.abs(second[candidates] - first[:, None])
    choice = np.argmin(differences, axis=1)
    rows = np.arange(len(first))
    nearest, difference = candidates[rows, choice], differences[rows, choice]
    # Of several that claim one partner the closest wins: order by partner, then distance; keep the first.
    order = np.lexsort((difference, nearest))
    winners = order[np.unique(nearest[order], return_index=True)[1]]
    winners = np.sort(winners[difference[winners] <= max_difference])
    return winners, nearest[winners]


def align(source: Array, target: Array, with_scale: bool) -> Alignment:
    """Least-squares similarity (or rigid motion) that takes points ``source`` to ``target``, both (N, 3).

    Points on a line or in one place leave part of the rotation free; one of the best is returned then.
    Source: Umeyama 1991, equations 40 to 42.

    Raises:
        DataError: there is no point, or a scale is wanted and all source points coincide.
    """
    if len(source) == 0:
        raise DataError("no pose of the estimate has a ground-truth pose: there is nothing to align")
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    source_centred, target_centred = source - source_mean, target - target_mean
    variance = float((source_centred**2).sum(axis=1).mean())
    if with_scale and variance < NO_MOTION**2:
        raise DataError("the estimated trajectory does not move: its scale cannot be aligned")
    left, singular_values, right = np.linalg.svd(target_centred.T @ source_centred / len(source))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = (left * signs) @ right
    scale = float(singular_values @ signs) / variance if with_scale else 1.0
    return Alignment(scale, rotation, target_mean - scale * rotation @ source_mean)
