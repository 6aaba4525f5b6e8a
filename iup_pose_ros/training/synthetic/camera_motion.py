"""How the cameras of a cluster lie to one another: hand-held, driving, drone, wide, rotation, standing still.

Lengths are shares of the median depth of the cluster's first view, so that one setting serves every scene.
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

_LEVEL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # optical axes, heading +x, z up
_SIDEWAYS = (
    0.0,
    0.0,
    0.0,
    0.0,
    math.pi,
    0.5 * math.pi,
    -0.5 * math.pi,
)  # mounts on a vehicle, most look ahead


@dataclass(frozen=True)
class Regime:
    """One kind of motion.

    Attributes:
        share: how often it is drawn, against the other regimes.
        path: ``around`` the first camera, ``along`` a road from it, or an ``orbit`` about what it looks at.
        baseline: least and greatest spread of the centres (around), step between neighbours (along), or
            change of the logarithm of the distance (orbit); drawn once for a cluster.
        rotation: least and greatest spread of the heading (around), turn per step (along), or half the arc
            (orbit), degrees; drawn once for a cluster.
        vertical: spread upwards as a share of the spread sideways.
        pitch: least and greatest pitch of the first camera, degrees, positive upwards.
        roll: spread of the roll, degrees.
        overlap: least share of each view's surfaces that the other view of a pair sees.
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
                raise ConfigurationError(f"{name} ({low}, {high}) must rise")


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
    """A camera relative to the first one of its cluster.

    Attributes:
        offset: (3,) right, down, forward in the level frame of the first camera, metres.
        turn: (3,) changes of heading (to the right), pitch (upwards) and roll (clockwise), radians.
    """

    offset: Vector
    turn: Vector


@dataclass(frozen=True, eq=False)
class Motion:
    """What all cameras of a cluster have in common: a regime and the numbers drawn from it.

    Attributes:
        regime: the kind of motion.
        depth: median depth of the first view, metres.
        baseline, rotation: drawn from the regime's ranges, metres (orbit: no unit) and radians.
        pitch: of the first camera, radians.
        mount: angle from the direction of travel to the first camera's heading, radians.
    """

    regime: Regime
    depth: float
    baseline: float
    rotation: float
    pitch: float
    mount: float

    @classmethod
    def draw(cls, regime: Regime, pitch: float, depth: float, rng: np.random.Generator) -> Motion:
        """The common numbers of a new cluster whose first view has this pitch and median depth."""
        unit = 1.0 if regime.path == "orbit" else depth
        return cls(
            regime=regime,
            depth=depth,
            baseline=unit * _log_uniform(regime.baseline, rng),
            rotation=math.radians(rng.uniform(*regime.rotation)) * float(rng.choice((-1.0, 1.0))),
            pitch=pitch,
            mount=float(rng.choice(_SIDEWAYS)) if regime.path == "along" else 0.0,
        )

    def place(self, index: int, extent: float, rng: np.random.Generator) -> Placement:
        """Where camera ``index`` (1, 2, ...) is; ``extent`` below 1 keeps it nearer to the first."""
        placement = _PLACE[self.regime.path](self, index, extent, rng)
        roll = math.radians(self.regime.roll) * (1.0 if self.rotation else 0.0) * rng.standard_normal()
        return Placement(placement.offset, placement.turn + np.array([0.0, 0.0, extent * roll]))


def pose(position: Vector, heading: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """T_world_camera (4, 4): heading counter-clockwise from +x, pitch upwards, roll clockwise."""
    turns = so3.exp(np.array([[0.0, 0.0, heading], [pitch, 0.0, 0.0], [0.0, 0.0, roll]]))
    matrix = np.eye(4)
    matrix[:3, :3] = turns[0] @ _LEVEL @ turns[1] @ turns[2]
    matrix[:3, 3] = position
    return matrix


def placed(first: Vector, motion: Motion, placement: Placement, roll: float) -> NDArray[np.float64]:
    """T_world_camera (4, 4) of a camera placed relative to the first, which is at x, y, z, heading (4,)."""
    level = so3.exp(np.array([0.0, 0.0, first[3]])) @ _LEVEL
    heading, pitch, turn_roll = placement.turn
    position = first[:3] + level @ placement.offset
    return pose(position, first[3] - heading, motion.pitch + pitch, roll + turn_roll)


def _around(motion: Motion, index: int, extent: float, rng: np.random.Generator) -> Placement:
    spread = np.array([1.0, motion.regime.vertical, 1.0]) / math.sqrt(2.0 + motion.regime.vertical**2)
    offset = extent * motion.baseline * spread * rng.standard_normal(3)
    turn = extent * motion.rotation * np.array([1.0, 0.6, 0.0]) * rng.standard_normal(3)
    return Placement(offset, turn)


def _along(motion: Motion, index: int, extent: float, rng: np.random.Generator) -> Placement:
    """Steps of equal length on an arc, seen from the first camera, whose mount turns with the vehicle."""
    travelled = extent * motion.baseline * (index + rng.uniform(-0.3, 0.3))
    turned = extent * motion.rotation * index
    sideways = travelled * math.sin(0.5 * turned) + 0.02 * motion.baseline * rng.standard_normal()
    ahead = travelled * math.cos(0.5 * turned)
    vertical = motion.regime.vertical * motion.baseline * rng.standard_normal()
    cos, sin = math.cos(motion.mount), math.sin(motion.mount)
    offset = np.array([cos * sideways - sin * ahead, vertical, sin * sideways + cos * ahead])
    jitter = math.radians(0.7) * rng.standard_normal(2)
    return Placement(offset, np.array([turned + jitter[0], jitter[1], 0.0]))


def _orbit(motion: Motion, index: int, extent: float, rng: np.random.Generator) -> Placement:
    """Around a point on the first camera's optical axis, looking at it but for a few degrees."""
    arc = extent * motion.rotation * rng.uniform(-1.0, 1.0)
    lift = extent * motion.rotation * motion.regime.vertical * rng.uniform(-1.0, 1.0)
    distance = motion.depth * math.exp(extent * motion.baseline * rng.standard_normal())
    target = motion.depth * _direction(0.0, motion.pitch)
    pitch = float(np.clip(motion.pitch + lift, -1.4, 1.4))
    away = math.radians(5.0) * extent * rng.standard_normal(2)
    turn = np.array([arc + away[0], pitch - motion.pitch + away[1], 0.0])
    return Placement(target - distance * _direction(arc, pitch), turn)


def _direction(heading: float, pitch: float) -> Vector:
    """Unit vector (right, down, forward) of a heading to the right and a pitch upwards."""
    level = math.cos(pitch)
    return np.array([level * math.sin(heading), -math.sin(pitch), level * math.cos(heading)])


def _log_uniform(limits: tuple[float, float], rng: np.random.Generator) -> float:
    low, high = limits
    return (
        float(math.exp(rng.uniform(math.log(low), math.log(high))))
        if low > 0.0
        else float(high * rng.random())
    )


_PLACE: Mapping[str, Callable[[Motion, int, float, np.random.Generator], Placement]] = MappingProxyType(
    {"around": _around, "along": _along, "orbit": _orbit}
)
