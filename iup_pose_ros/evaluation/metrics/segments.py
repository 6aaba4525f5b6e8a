"""Relative pose errors over travelled distance: RPE per distance, KITTI's t_rel and r_rel. No I/O.

Sources: Sturm et al., "A benchmark for the evaluation of RGB-D SLAM systems", IROS 2012 (RPE); Geiger, Lenz,
Urtasun, "Are we ready for autonomous driving?", CVPR 2012 (t_rel, r_rel).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iup_pose_ros.evaluation.metrics.trajectory_errors import relative_poses
from iup_pose_ros.geometry.so3 import Array, angle
from iup_pose_ros.geometry.trajectory import Indices, Trajectory

KITTI_LENGTHS = (100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0)


@dataclass(frozen=True, eq=False)
class SegmentErrors:
    """Relative pose errors of E trajectory segments.

    Attributes:
        translation: (E,) translation error at the segment's end, in the unit of the trajectories.
        rotation: (E,) rotation error at the segment's end, radians.
        lengths: (E,) nominal segment lengths.
    """

    translation: Array
    rotation: Array
    lengths: Array

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def translation_share(self) -> float:
        """Return the mean translation error per length (KITTI's t_rel, a ratio); NaN if empty."""
        return float(np.mean(self.translation / self.lengths)) if len(self) else float("nan")

    @property
    def rotation_rate(self) -> float:
        """Return the mean rotation error per length (KITTI's r_rel, radians per unit); NaN if empty."""
        return float(np.mean(self.rotation / self.lengths)) if len(self) else float("nan")


def distance_errors(estimate: Trajectory, reference: Trajectory, distance: float) -> SegmentErrors:
    """Compute the RPE of consecutive segments of the reference trajectory of length ``distance``.

    The segments are those of evo (``evo_rpe --delta D --delta_unit m --pairs_from_reference``).

    Args:
        estimate: associated and aligned.
        reference: at the same stamps.
        distance: segment length in the unit of the reference.
    """
    ends = [0]
    travelled = 0.0
    for index, step in enumerate(_steps(reference), start=1):
        travelled += float(step)
        if travelled >= distance:
            ends.append(index)
            travelled = 0.0
    previous, current = np.array(ends[:-1], dtype=np.intp), np.array(ends[1:], dtype=np.intp)
    return _errors(estimate, reference, previous, current, np.full(len(previous), distance))


def kitti_errors(estimate: Trajectory, reference: Trajectory) -> SegmentErrors:
    """Compute the errors of all segments of 100 to 800 m, as defined by the KITTI odometry benchmark.

    KITTI starts a segment at every tenth image. Here a segment starts at every pose, because poses are
    keyframes, which are further apart than images.

    Args:
        estimate: associated and aligned, metres.
        reference: at the same stamps, metres.
    """
    distances = np.concatenate([[0.0], np.cumsum(_steps(reference))])
    previous, current, lengths = [], [], []
    for length in KITTI_LENGTHS:
        ends = np.searchsorted(distances, distances + length, side="right")
        begins = np.flatnonzero(ends < len(distances))
        previous.append(begins)
        current.append(ends[begins])
        lengths.append(np.full(len(begins), length))
    return _errors(
        estimate, reference, np.concatenate(previous), np.concatenate(current), np.concatenate(lengths)
    )


def _steps(trajectory: Trajectory) -> Array:
    return np.linalg.norm(np.diff(trajectory.positions, axis=0), axis=1)


def _errors(
    estimate: Trajectory, reference: Trajectory, previous: Indices, current: Indices, lengths: Array
) -> SegmentErrors:
    errors = [
        true.inverse() @ found
        for true, found in zip(
            relative_poses(reference, previous, current),
            relative_poses(estimate, previous, current),
            strict=True,
        )
    ]
    translations = np.array([np.linalg.norm(error.translation) for error in errors], dtype=np.float64)
    rotations = np.array([float(angle(error.rotation)) for error in errors], dtype=np.float64)
    return SegmentErrors(translations, rotations, lengths)
