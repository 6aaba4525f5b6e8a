"""The rotational (infinite) homography, by which a rotating camera's images map onto each other at any depth.

Source: Hartley and Zisserman, "Multiple View Geometry", 2nd edition, section 8.4.2 and equation 13.11.
"""

from __future__ import annotations

from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.so3 import Array


def rotational_homography(intrinsics_1: Intrinsics, R_1_0: Array, intrinsics_0: Intrinsics) -> Array:
    """H_inf (3, 3) with x_1 ~ H_inf x_0 for homogeneous pixels, points at infinity or no translation."""
    fx, fy, cx, cy = intrinsics_0.fx, intrinsics_0.fy, intrinsics_0.cx, intrinsics_0.cy
    inverse_matrix_0 = [[1.0 / fx, 0.0, -cx / fx], [0.0, 1.0 / fy, -cy / fy], [0.0, 0.0, 1.0]]
    return intrinsics_1.matrix @ R_1_0 @ inverse_matrix_0
