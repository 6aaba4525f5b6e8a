from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.interpolation import interpolated_poses


def test_poses_are_interpolated_between_neighbours_only():
    stamps = np.array([0.0, 0.05, 1.0, 1.05])
    rotations = Rotation.from_rotvec([[0.0, 0.0, 0.2 * i] for i in range(4)])
    positions = np.arange(12.0).reshape(4, 3)
    poses = interpolated_poses(stamps, rotations, positions, np.array([0.025, 0.5, 1.05, 1.2, -0.1]))
    assert [pose is None for pose in poses] == [False, True, False, True, True]
    assert poses[0] is not None
    np.testing.assert_allclose(poses[0].translation, [1.5, 2.5, 3.5])
    np.testing.assert_allclose(Rotation.from_matrix(poses[0].rotation).as_rotvec(), [0.0, 0.0, 0.1])
    with pytest.raises(DataError, match="increasing"):
        interpolated_poses(stamps[::-1], rotations, positions, stamps)
