"""Trajectories, association by time and alignment of positions. No I/O.

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
from iup_pose_ros.geometry.interpolation import interpolated_poses
from iup_pose_ros.geometry.pose import NO_MOTION, Pose
from iup_pose_ros.geometry.so3 import Array

Indices = NDArray[np.intp]

# Seconds, see Trajectory.at.
_EQUAL_STAMPS, _NEARBY_STAMPS, _MAX_GAP = 1e-3, 1e-2, 0.2


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Poses ``T_world_body`` over time.

    Attributes:
        stamps: (N,) seconds, strictly increasing.
        rotations: (N, 3, 3) R_world_body.
        positions: (N, 3) of the body in the world frame, in metres or in an arbitrary unit.

    Raises:
        DataError: shapes are inconsistent, a value is not finite, or the stamps do not increase.
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
            raise DataError("the trajectory contains values that are not finite")
        if np.any(np.diff(self.stamps) <= 0.0):
            index = int(np.argmax(np.diff(self.stamps) <= 0.0)) + 1
            raise DataError(
                f"stamps of a trajectory must increase; pose {index} at {self.stamps[index]:.9f} s follows "
                f"one at {self.stamps[index - 1]:.9f} s"
            )

    @classmethod
    def from_poses(cls, stamps: Sequence[float] | Array, poses: Sequence[Pose]) -> Trajectory:
        """Create a trajectory from poses ``T_world_body`` and increasing stamps in seconds."""
        rotations = np.array([pose.rotation for pose in poses]).reshape(-1, 3, 3)
        positions = np.array([pose.translation for pose in poses]).reshape(-1, 3)
        return cls(np.asarray(stamps, dtype=np.float64), rotations, positions)

    def __len__(self) -> int:
        return len(self.stamps)

    def pose(self, index: int) -> Pose:
        """Return ``T_world_body`` at an index."""
        return Pose(self.rotations[index], self.positions[index])

    def select(self, indices: Indices | Sequence[int]) -> Trajectory:
        """Return the trajectory with the poses at increasing ``indices``."""
        selected = np.asarray(indices, dtype=np.intp)
        return Trajectory(self.stamps[selected], self.rotations[selected], self.positions[selected])

    def with_quaternions_reordered(self) -> Trajectory:
        """Return the trajectory of a file whose quaternions (w, x, y, z) were read as (x, y, z, w)."""
        w, x, y, z = Rotation.from_matrix(self.rotations).as_quat().T
        rotations = Rotation.from_quat(np.stack([x, y, z, w], axis=1)).as_matrix()
        return Trajectory(self.stamps, rotations, self.positions)

    def at(self, stamps: Array) -> Trajectory:
        """Sample the trajectory; stamps without a pose are omitted.

        A pose within 1 ms of a stamp is used unchanged, so that ground truth at the stamps of the images is
        not altered. Otherwise two poses at most 0.2 s apart are interpolated. Otherwise a pose within 10 ms
        is used.

        Args:
            stamps: (M,) increasing, seconds.
        """
        equal = self._nearest(stamps, _EQUAL_STAMPS)
        poses = self._nearest(stamps, _NEARBY_STAMPS)
        if len(self) > 1:
            wanted = np.setdiff1d(stamps, list(equal))
            rotations = Rotation.from_matrix(self.rotations)
            between = interpolated_poses(self.stamps, rotations, self.positions, wanted, _MAX_GAP)
            poses |= {float(s): pose for s, pose in zip(wanted, between, strict=True) if pose is not None}
        poses |= equal
        known = sorted(poses)
        return Trajectory.from_poses(known, [poses[stamp] for stamp in known])

    def _nearest(self, stamps: Array, limit: float) -> dict[float, Pose]:
        wanted, indices = associate(stamps, self.stamps, limit)
        return {float(stamps[i]): self.pose(int(j)) for i, j in zip(wanted, indices, strict=True)}

    @property
    def length(self) -> float:
        """Return the path length: sum of the distances between consecutive positions."""
        return float(np.linalg.norm(np.diff(self.positions, axis=0), axis=1).sum())


@dataclass(frozen=True, eq=False)
class Alignment:
    """Similarity transform x -> scale * rotation @ x + translation; rotation (3, 3), translation (3,)."""

    scale: float
    rotation: Array
    translation: Array

    def apply(self, trajectory: Trajectory) -> Trajectory:
        """Transform a trajectory to the world frame and the unit of the target."""
        positions = self.scale * trajectory.positions @ self.rotation.T + self.translation
        return Trajectory(trajectory.stamps, self.rotation @ trajectory.rotations, positions)


def associate(first: Array, second: Array, max_difference: float) -> tuple[Indices, Indices]:
    """Associate two lists of stamps one-to-one by nearest time.

    Args:
        first: (N,) increasing stamps, seconds.
        second: (M,) increasing stamps, seconds.
        max_difference: maximum time difference of associated stamps, seconds.

    Returns:
        Increasing indices (K,) into ``first`` and into ``second``; K may be 0.
    """
    if len(first) == 0 or len(second) == 0:
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    right = np.clip(np.searchsorted(second, first), 1, max(len(second) - 1, 1))
    candidates = np.stack([right - 1, np.minimum(right, len(second) - 1)], axis=1)
    differences = np.abs(second[candidates] - first[:, None])
    choice = np.argmin(differences, axis=1)
    rows = np.arange(len(first))
    nearest, difference = candidates[rows, choice], differences[rows, choice]
    # Several stamps may have the same nearest partner. Sort by partner, then by difference; keep the first.
    order = np.lexsort((difference, nearest))
    closest = order[np.unique(nearest[order], return_index=True)[1]]
    closest = np.sort(closest[difference[closest] <= max_difference])
    return closest, nearest[closest]


def align(source: Array, target: Array, with_scale: bool) -> Alignment:
    """Compute the least-squares similarity or rigid transform from ``source`` to ``target``, both (N, 3).

    For collinear or coincident points, where the rotation is not unique, one of the solutions is returned.
    Source: Umeyama 1991, equations 40 to 42.

    Args:
        source: (N, 3).
        target: (N, 3), in the order of ``source``.
        with_scale: whether to estimate the scale; otherwise it is 1.

    Raises:
        DataError: there are no points, or ``with_scale`` is set and all source points coincide.
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
