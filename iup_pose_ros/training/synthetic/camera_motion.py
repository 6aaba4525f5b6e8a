"""Random relative poses of the cameras of a cluster: hand-held, driving, drone, wide, rotation, stationary.

Lengths are relative to the median depth of the first view of a cluster, so that they apply to any scene.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.geometry import so3

Vector = NDArray[np.float64]

PATHS = ("around", "along", "orbit")

# Optical frame of a level camera with heading +x, z up.
_LEVEL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
# Heading of a camera relative to its vehicle: mostly forward, else backward, left or right.
_VEHICLE_MOUNTS = (0.0, 0.0, 0.0, 0.0, math.pi, 0.5 * math.pi, -0.5 * math.pi)


@dataclass(frozen=True)
class Regime:
    """Distribution of one kind of camera motion. Ranges are (minimum, maximum).

    Attributes:
        share: relative frequency of the regime.
        path: ``around`` the first camera, ``along`` a road from it, or an ``orbit`` about the point that it
            looks at.
        baseline: range of the standard deviation of the positions (around), of the step between consecutive
            cameras (along), or of the standard deviation of the logarithm of the distance (orbit); drawn once
            per cluster.
        rotation: range of the standard deviation of the heading (around), of the turn per step (along), or of
            half the arc (orbit), degrees; drawn once per cluster.
        vertical: ratio of vertical to horizontal displacement.
        pitch: range of the pitch of the first camera, degrees, positive upwards.
        roll: standard deviation of the roll, degrees.
        overlap: minimum fraction of each view's surfaces that are visible in the other view of a pair.

    Raises:
        ConfigurationError: the path is unknown, or a value is outside its range.
    """

    share: float
    path: str
    baseline: tuple[float, float]
    rotation: tuple[float, float]
    vertical: float
    pitch: tuple[float, float]
    roll: float
    overlap: float

    def __post_init__(self) -> None:
        if self.path not in PATHS:
            raise ConfigurationError(f"path {self.path!r} does not exist; accepted: {', '.join(PATHS)}")
        if self.share < 0.0 or not 0.0 < self.overlap < 1.0:
            raise ConfigurationError(
                f"share {self.share} must be >= 0 and overlap {self.overlap} between 0 and 1"
            )
        for name in ("baseline", "rotation", "pitch"):
            low, high = getattr(self, name)
            if low > high:
                raise ConfigurationError(f"{name} ({low}, {high}) must be (minimum, maximum)")


REGIMES: Mapping[str, Regime] = MappingProxyType(
    {
        "hand_held": Regime(0.30, "around", (0.01, 0.3), (1.0, 14.0), 0.7, (-25.0, 20.0), 6.0, 0.35),
        "driving": Regime(0.14, "along", (0.02, 0.12), (0.0, 4.0), 0.02, (-6.0, 4.0), 1.0, 0.3),
        "drone": Regime(0.12, "around", (0.03, 0.4), (2.0, 15.0), 1.0, (-60.0, 5.0), 8.0, 0.3),
        "wide": Regime(0.34, "orbit", (0.05, 0.35), (8.0, 45.0), 0.3, (-25.0, 15.0), 8.0, 0.15),
        "rotation": Regime(0.06, "around", (0.0, 0.0), (3.0, 20.0), 0.0, (-25.0, 20.0), 6.0, 0.3),
        "still": Regime(0.04, "around", (0.0, 0.0), (0.0, 0.0), 0.0, (-25.0, 20.0), 0.0, 0.5),
    }
)


@dataclass(frozen=True, eq=False)
class Placement:
    """Pose of a camera relative to the first camera of its cluster.

    Attributes:
        offset: (3,) right, down, forward in the levelled frame of the first camera, metres.
        turn: (3,) changes of heading (to the right), pitch (upwards) and roll (clockwise), radians.
    """

    offset: Vector
    turn: Vector


@dataclass(frozen=True, eq=False)
class Motion:
    """Motion parameters that all cameras of a cluster share.

    Attributes:
        regime: distribution of the parameters.
        depth: median depth of the first view, metres.
        baseline: drawn from the range of the regime, metres (orbit: no unit).
        rotation: drawn from the range of the regime, radians.
        pitch: pitch of the first camera, radians.
        mount: angle from the direction of travel to the heading of the first camera, radians.
    """

    regime: Regime
    depth: float
    baseline: float
    rotation: float
    pitch: float
    mount: float

    @classmethod
    def draw(cls, regime: Regime, pitch: float, depth: float, rng: np.random.Generator) -> Motion:
        """Draw the parameters of a cluster.

        Args:
            regime: distribution of the parameters.
            pitch: pitch of the first camera, radians.
            depth: median depth of the first view, metres.
            rng: random generator.
        """
        unit = 1.0 if regime.path == "orbit" else depth
        low, high = regime.baseline
        # Log-uniform, unless the minimum is zero.
        baseline = math.exp(rng.uniform(math.log(low), math.log(high))) if low > 0.0 else high * rng.random()
        return cls(
            regime=regime,
            depth=depth,
            baseline=unit * float(baseline),
            rotation=math.radians(rng.uniform(*regime.rotation)) * float(rng.choice((-1.0, 1.0))),
            pitch=pitch,
            mount=float(rng.choice(_VEHICLE_MOUNTS)) if regime.path == "along" else 0.0,
        )

    def place(self, index: int, extent: float, rng: np.random.Generator) -> Placement:
        """Draw the placement of camera ``index`` (1, 2, ...); ``extent`` < 1 reduces the motion."""
        placement = _PLACE[self.regime.path](self, index, extent, rng)
        roll = math.radians(self.regime.roll) * (1.0 if self.rotation else 0.0) * rng.standard_normal()
        return Placement(placement.offset, placement.turn + np.array([0.0, 0.0, extent * roll]))


def pose(position: Vector, heading: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """Return T_world_camera (4, 4).

    Args:
        position: (3,) metres.
        heading: counter-clockwise from +x, radians.
        pitch: positive upwards, radians.
        roll: positive clockwise, radians.
    """
    turns = so3.exp(np.array([[0.0, 0.0, heading], [pitch, 0.0, 0.0], [0.0, 0.0, roll]]))
    matrix = np.eye(4)
    matrix[:3, :3] = turns[0] @ _LEVEL @ turns[1] @ turns[2]
    matrix[:3, 3] = position
    return matrix


def placed(first: Vector, motion: Motion, placement: Placement, roll: float) -> NDArray[np.float64]:
    """Return T_world_camera (4, 4) of a camera.

    Args:
        first: (4,) position, metres, and heading, radians, of the first camera.
        motion: parameters of the cluster.
        placement: pose relative to the first camera.
        roll: roll of the first camera, radians.
    """
    level = so3.exp(np.array([0.0, 0.0, first[3]])) @ _LEVEL
    heading, pitch, turn_roll = placement.turn
    position = first[:3] + level @ placement.offset
    return pose(position, first[3] - heading, motion.pitch + pitch, roll + turn_roll)


def place_around(motion: Motion, index: int, extent: float, rng: np.random.Generator) -> Placement:
    """Draw a normally distributed displacement and rotation."""
    spread = np.array([1.0, motion.regime.vertical, 1.0]) / math.sqrt(2.0 + motion.regime.vertical**2)
    offset = extent * motion.baseline * spread * rng.standard_normal(3)
    turn = extent * motion.rotation * np.array([1.0, 0.6, 0.0]) * rng.standard_normal(3)
    return Placement(offset, turn)


def place_along(motion: Motion, index: int, extent: float, rng: np.random.Generator) -> Placement:
    """Place a camera on a vehicle that has moved ``index`` steps of equal length along an arc."""
    travelled = extent * motion.baseline * (index + rng.uniform(-0.3, 0.3))
    turned = extent * motion.rotation * index
    sideways = travelled * math.sin(0.5 * turned) + 0.02 * motion.baseline * rng.standard_normal()
    ahead = travelled * math.cos(0.5 * turned)
    vertical = motion.regime.vertical * motion.baseline * rng.standard_normal()
    cos, sin = math.cos(motion.mount), math.sin(motion.mount)
    offset = np.array([cos * sideways - sin * ahead, vertical, sin * sideways + cos * ahead])
    jitter = math.radians(0.7) * rng.standard_normal(2)
    return Placement(offset, np.array([turned + jitter[0], jitter[1], 0.0]))


def place_orbit(motion: Motion, index: int, extent: float, rng: np.random.Generator) -> Placement:
    """Place a camera on an orbit about a point on the first optical axis, looking approximately at it."""
    arc = extent * motion.rotation * rng.uniform(-1.0, 1.0)
    lift = extent * motion.rotation * motion.regime.vertical * rng.uniform(-1.0, 1.0)
    distance = motion.depth * math.exp(extent * motion.baseline * rng.standard_normal())
    target = motion.depth * _direction(0.0, motion.pitch)
    pitch = float(np.clip(motion.pitch + lift, -1.4, 1.4))
    away = math.radians(5.0) * extent * rng.standard_normal(2)
    turn = np.array([arc + away[0], pitch - motion.pitch + away[1], 0.0])
    return Placement(target - distance * _direction(arc, pitch), turn)


def _direction(heading: float, pitch: float) -> Vector:
    """Return the unit vector (right, down, forward) of a heading to the right and a pitch upwards."""
    level = math.cos(pitch)
    return np.array([level * math.sin(heading), -math.sin(pitch), level * math.cos(heading)])


_PLACE: Mapping[str, Callable[[Motion, int, float, np.random.Generator], Placement]] = MappingProxyType(
    {"around": place_around, "along": place_along, "orbit": place_orbit}
)
