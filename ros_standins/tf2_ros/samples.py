"""The samples of one transform (parent <- child) over time, and what lies between them."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

import numpy as np
from geometry_msgs.msg import Transform
from scipy.spatial.transform import Rotation, Slerp


@dataclass(frozen=True)
class RigidTransform:
    """T_parent_child: X_parent = rotation X_child + translation."""

    rotation: Rotation
    translation: np.ndarray  # (3,)

    @staticmethod
    def identity() -> RigidTransform:
        return RigidTransform(Rotation.identity(), np.zeros(3))

    @staticmethod
    def from_msg(msg: Transform) -> RigidTransform:
        q, t = msg.rotation, msg.translation
        return RigidTransform(Rotation.from_quat([q.x, q.y, q.z, q.w]), np.array([t.x, t.y, t.z]))

    def to_msg(self) -> Transform:
        msg = Transform()
        msg.translation.x, msg.translation.y, msg.translation.z = self.translation.tolist()
        quaternion = self.rotation.as_quat(canonical=True).tolist()
        msg.rotation.x, msg.rotation.y, msg.rotation.z, msg.rotation.w = quaternion
        return msg

    def __matmul__(self, other: RigidTransform) -> RigidTransform:
        translation = self.rotation.apply(other.translation) + self.translation
        return RigidTransform(self.rotation * other.rotation, translation)

    def inverse(self) -> RigidTransform:
        rotation = self.rotation.inv()
        return RigidTransform(rotation, -rotation.apply(self.translation))


def interpolate(before: RigidTransform, after: RigidTransform, share: float) -> RigidTransform:
    """The transform at `share` (0..1) of the way: straight line, and rotation about a fixed axis."""
    rotations = Rotation.concatenate([before.rotation, after.rotation])
    translation = (1 - share) * before.translation + share * after.translation
    return RigidTransform(Slerp([0.0, 1.0], rotations)(share), translation)


@dataclass
class Samples:
    """What is known about one child frame; stamps in nanoseconds, ascending."""

    parent: str
    static: bool
    stamps: list[int] = field(default_factory=list)
    transforms: list[RigidTransform] = field(default_factory=list)

    def insert(self, stamp: int, transform: RigidTransform, cache_time: int) -> None:
        """Adds a sample unless it repeats a stamp; forgets what is cache_time [ns] older than the newest."""
        if self.static:
            self.stamps, self.transforms = [stamp], [transform]
            return
        place = bisect.bisect_left(self.stamps, stamp)
        if place < len(self.stamps) and self.stamps[place] == stamp:
            return
        self.stamps.insert(place, stamp)
        self.transforms.insert(place, transform)
        expired = bisect.bisect_left(self.stamps, self.stamps[-1] - cache_time)
        del self.stamps[:expired], self.transforms[:expired]

    def covers(self, stamp: int) -> bool:
        return self.static or self.stamps[0] <= stamp <= self.stamps[-1]

    def at(self, stamp: int) -> RigidTransform:
        """The transform at a time that the samples cover."""
        if self.static:
            return self.transforms[0]
        place = bisect.bisect_left(self.stamps, stamp)
        if self.stamps[place] == stamp:
            return self.transforms[place]
        begin, end = self.stamps[place - 1], self.stamps[place]
        share = (stamp - begin) / (end - begin)
        return interpolate(self.transforms[place - 1], self.transforms[place], share)
