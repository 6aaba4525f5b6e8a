"""The fixed transforms of a recording, /tf_static, and what follows from them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from iup_pose_ros.bags.messages import pose_of_transform
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.camera_frames import frame_name
from iup_pose_ros.geometry.pose import Pose

TF_STATIC = "/tf_static"


class StaticTransforms:
    """Frames fixed to one another.

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
        """Those of a recording; none where it has no /tf_static. Of a repeated transform the last counts."""
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
        """``T_target_source`` along the transforms; None where they do not connect the two frames."""
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
