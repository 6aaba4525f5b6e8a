"""Segment errors, compared with evo and with a known drift."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from iup_pose_ros.evaluation.metrics.segments import distance_errors, kitti_errors
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.trajectory import Trajectory


def random_walk(seed: int, count: int = 60) -> Trajectory:
    rng = np.random.default_rng(seed)
    positions = np.cumsum(0.3 * rng.normal(size=(count, 3)), axis=0)
    rotations = so3.exp(np.cumsum(0.05 * rng.normal(size=(count, 3)), axis=0))
    return Trajectory(np.arange(count, dtype=np.float64), rotations, positions)


def straight_drive(length: float, scale: float = 1.0, yaw_per_m: float = 0.0) -> Trajectory:
    """Return poses every 2 m along z with a scale error and a heading drift in radians per metre."""
    z = np.arange(0.0, length + 1.0, 2.0)
    rotations = so3.exp(yaw_per_m * z[:, None] * np.array([0.0, 1.0, 0.0]))
    return Trajectory(z, rotations, scale * z[:, None] * np.array([0.0, 0.0, 1.0]))


@pytest.mark.parametrize("distance", [1.0, 2.5])
def test_errors_per_distance_agree_with_evo(distance: float) -> None:
    metrics = pytest.importorskip("evo.core.metrics", reason="evo, the oracle of this test, is not installed")
    from evo.core.trajectory import PoseTrajectory3D

    def to_evo(path: Trajectory):
        quaternions = Rotation.from_matrix(path.rotations).as_quat(scalar_first=True)
        return PoseTrajectory3D(path.positions.copy(), quaternions, path.stamps.copy())

    reference, estimate = random_walk(1), random_walk(2)
    ours = distance_errors(estimate, reference, distance)
    for relation, values in (
        (metrics.PoseRelation.translation_part, ours.translation),
        (metrics.PoseRelation.rotation_angle_rad, ours.rotation),
    ):
        rpe = metrics.RPE(relation, distance, metrics.Unit.meters, pairs_from_reference=True)
        rpe.process_data((to_evo(reference), to_evo(estimate)))
        assert len(values) > 5
        np.testing.assert_allclose(values, rpe.error, atol=1e-7)


def test_kitti_errors_are_those_of_a_known_drift() -> None:
    reference = straight_drive(450.0)
    stretched = kitti_errors(straight_drive(450.0, scale=1.03), reference)
    # A segment ends at the first pose beyond its nominal length, up to 2 m later.
    assert stretched.translation_share == pytest.approx(0.03, rel=0.03)
    assert stretched.rotation_rate == pytest.approx(0.0, abs=1e-9)
    assert set(stretched.lengths) == {100.0, 200.0, 300.0, 400.0}
    turned = kitti_errors(straight_drive(450.0, yaw_per_m=1e-4), reference)
    assert turned.rotation_rate == pytest.approx(1e-4, rel=0.03)


def test_short_path_has_no_kitti_errors_and_no_long_segments() -> None:
    reference = straight_drive(60.0)
    assert len(kitti_errors(reference, reference)) == 0
    assert np.isnan(kitti_errors(reference, reference).translation_share)
    assert len(distance_errors(reference, reference, 70.0)) == 0
    assert len(distance_errors(reference, reference, 10.0)) == 6
