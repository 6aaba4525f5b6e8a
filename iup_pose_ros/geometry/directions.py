"""Directions of translation: unit vectors and their tangent planes."""

from __future__ import annotations

import numpy as np

from iup_pose_ros.geometry.so3 import Array

# A translation shorter than this, in its own unit, has no direction.
NO_MOTION = 1e-9


def tangent_basis(direction: Array) -> Array:
    """Return two orthonormal columns (3, 2) perpendicular to a unit vector (3,)."""
    first = np.cross(direction, np.eye(3)[np.argmin(np.abs(direction))])
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(direction, first)], axis=1)
