"""A smooth hand-held camera trajectory around the table of the demo room, with exact poses.

Positions and viewing directions are cubic splines through way points. The camera is stationary at first;
while it moves, a small shake is added.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.interpolate import CubicSpline

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.geometry.trajectory import Trajectory

# x, y, z in metres; heading (counter-clockwise from east), pitch (up) and roll in degrees.
_WAY_POINTS = np.array(
    [
        (1.00, 1.00, 1.45, 36.0, -8.0, 0.0),
        (2.15, 1.10, 1.50, 48.0, -9.0, 1.5),
        (3.50, 1.20, 1.55, 68.0, -11.0, 2.5),
        (4.75, 1.55, 1.52, 92.0, -8.0, 2.0),
        (5.55, 2.35, 1.45, 122.0, -6.0, 2.5),
        (5.15, 2.95, 1.50, 146.0, -8.0, 3.0),
        (4.25, 3.50, 1.62, 172.0, -11.0, 1.5),
        (3.15, 4.05, 1.66, 208.0, -9.0, 1.0),
        (2.25, 3.75, 1.60, 246.0, -8.0, -1.0),
        (1.55, 3.05, 1.52, 283.0, -7.0, -2.0),
        (1.15, 2.20, 1.46, 322.0, -8.0, 0.0),
    ]
)
_REST = 1.0  # stationary time at the start, seconds
_ACCELERATE, _DECELERATE = 1.5, 1.2  # seconds
_SHAKE_POSITION = 0.004  # metres
_SHAKE_ROTATION = math.radians(0.25)
_SHAKE_HERTZ = (0.5, 2.5)

# Optical frame of a level camera that looks east: x right is south, y is down, z forward is east.
LEVEL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def fly(duration: float = 18.0, rate: float = 20.0, seed: int = 0) -> Trajectory:
    """Compute T_world_camera of the optical frame, with stamps that start at 0.

    Args:
        duration: seconds; the camera is stationary during the first one.
        rate: poses per second.
        seed: random seed of the shake.
    """
    stamps = np.arange(round(duration * rate)) / rate
    # Speed relative to its maximum, and fraction of the path travelled, at each stamp.
    fine = np.linspace(0.0, duration, 4001)
    fine_speed = _smooth_step((fine - _REST) / _ACCELERATE) * _smooth_step((duration - fine) / _DECELERATE)
    travelled = np.concatenate([[0.0], np.cumsum(0.5 * (fine_speed[1:] + fine_speed[:-1]))])
    speed = np.interp(stamps, fine, fine_speed)
    progress = np.interp(stamps, fine, travelled / travelled[-1])
    knots = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(_WAY_POINTS[:, :3], axis=0), axis=1))])
    path = CubicSpline(knots / knots[-1], _WAY_POINTS)(progress)
    shake = camera_shake(stamps, np.random.default_rng(seed)) * speed[:, None]
    heading, pitch, roll = np.radians(path[:, 3:]).T
    zero = np.zeros_like(heading)
    rotations = (
        so3.exp(np.stack([zero, zero, heading], axis=1))
        @ LEVEL
        @ so3.exp(np.stack([pitch, zero, zero], axis=1))
        @ so3.exp(np.stack([zero, zero, roll], axis=1))
        @ so3.exp(_SHAKE_ROTATION * shake[:, 3:])
    )
    return Trajectory(stamps, rotations, path[:, :3] + _SHAKE_POSITION * shake[:, :3])


def _smooth_step(x: Array) -> Array:
    """Return 0 below 0, 1 above 1, and a quintic with continuous first and second derivative between."""
    x = np.clip(x, 0.0, 1.0)
    return np.asarray(x**3 * (10.0 + x * (6.0 * x - 15.0)))


def camera_shake(stamps: Array, rng: np.random.Generator) -> Array:
    """Return a shake (N, 6) of position and rotation: sums of random sines with unit variance."""
    count = 6
    hertz = rng.uniform(*_SHAKE_HERTZ, (count, 6))
    phase = rng.uniform(0.0, 2.0 * math.pi, (count, 6))
    waves = np.sin(2.0 * math.pi * hertz * stamps[:, None, None] + phase)
    return np.asarray(waves.sum(axis=1) * math.sqrt(2.0 / count))
