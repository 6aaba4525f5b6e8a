"""The static transforms (/tf_static) of a recording and transforms composed of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from iup_pose_ros.bags.messages import pose_of_transform
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.message_poses import frame_name

TF_STATIC = "/tf_static"


class StaticTransforms:
    """Graph of frames connected by static transforms.

    Args:
        transforms: ``T_parent_child`` by (parent, child).
    """

    def __init__(self, transforms: Mapping[tuple[str, str], Pose]) -> None:
        self._neighbours: dict[str, dict[str, Pose]] = {}
        for (parent, child), T_parent_child in transforms.items():
            self._neighbours.setdefault(parent, {})[child] = T_parent_child
            self._neighbours.setdefault(child, {})[parent] = T_parent_child.inverse()

    @classmethod
    def read(cls, bag: BagReader) -> StaticTransforms:
        """Read the static transforms of a recording, if any; the last of a repeated transform is used."""
        transforms: dict[tuple[str, str], Pose] = {}
        recorded = bag.decoded(TF_STATIC) if TF_STATIC in bag.topics else ()
        for message in recorded:
            for stamped in message.transforms:
                key = (frame_name(stamped.header.frame_id), frame_name(stamped.child_frame_id))
                transforms[key] = pose_of_transform(stamped.transform)
        return cls(transforms)

    @property
    def names(self) -> str:
        """All frames, separated by commas."""
        return ", ".join(sorted(self._neighbours))

    def find(self, target: str, source: str) -> Pose | None:
        """Return ``T_target_source``, composed of the transforms; None if the frames are not connected."""
        target, source = frame_name(target), frame_name(source)
        found = {target: Pose.identity()}
        waiting = deque([target])
        while waiting and source not in found:
            frame = waiting.popleft()
            for neighbour, T_frame_neighbour in self._neighbours.get(frame, {}).items():
                if neighbour not in found:
                    found[neighbour] = found[frame] @ T_frame_neighbour
                    waiting.append(neighbour)
        return found.get(source)
