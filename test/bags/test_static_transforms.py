from __future__ import annotations

import numpy as np
import pytest

from iup_pose_ros.bags.static_transforms import StaticTransforms
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose

T_BASE_HEAD = Pose(so3.exp(np.array([0.0, 0.0, 1.2])), np.array([1.0, 0.0, 0.5]))
T_HEAD_EYE = Pose(so3.exp(np.array([0.4, -0.3, 0.0])), np.array([0.0, 0.2, 0.0]))
T_BASE_WHEEL = Pose(np.eye(3), np.array([0.0, -0.4, 0.0]))


@pytest.fixture
def transforms() -> StaticTransforms:
    """base with a head, on which sits an eye, and a wheel; a box stands apart."""
    return StaticTransforms(
        {
            ("head", "eye"): T_HEAD_EYE,
            ("base", "head"): T_BASE_HEAD,
            ("base", "wheel"): T_BASE_WHEEL,
            ("room", "box"): Pose.identity(),
        }
    )


@pytest.mark.parametrize(
    ("target", "source", "expected"),
    [
        ("base", "eye", T_BASE_HEAD @ T_HEAD_EYE),
        ("eye", "base", (T_BASE_HEAD @ T_HEAD_EYE).inverse()),
        ("wheel", "eye", T_BASE_WHEEL.inverse() @ T_BASE_HEAD @ T_HEAD_EYE),
        ("head", "head", Pose.identity()),
    ],
)
def test_frames_are_found_up_and_down_the_tree(
    transforms: StaticTransforms, target: str, source: str, expected: Pose
) -> None:
    found = transforms.find(target, source)
    assert found is not None
    np.testing.assert_allclose(found.matrix, expected.matrix, atol=1e-12)


def test_frames_that_nothing_connects_are_not_found(transforms: StaticTransforms) -> None:
    assert transforms.find("base", "box") is None
    assert transforms.find("base", "unheard_of") is None
