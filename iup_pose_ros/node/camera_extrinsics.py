"""Where the camera sits on the robot, from TF."""

from __future__ import annotations

from typing import Any

import numpy as np
import tf2_ros
from rclpy.duration import Duration
from rclpy.time import Time

from iup_pose_ros.errors import IupPoseError
from iup_pose_ros.geometry.pose import Pose


class MountError(IupPoseError):
    """The camera's mount on the base is not known (yet)."""


class MountLookup:
    """Looks the mount ``T_base_camera`` up once per camera frame and remembers it.

    Args:
        buffer: filled by a tf2_ros.TransformListener in another thread.
        base_frame: frame of the robot.
        timeout: how long one lookup waits for the transform at the image's stamp, seconds.
        assume_identity: answer identity without asking TF.
    """

    def __init__(
        self, buffer: tf2_ros.Buffer, base_frame: str, timeout: float, assume_identity: bool
    ) -> None:
        self._buffer = buffer
        self._base_frame = base_frame
        self.timeout = timeout
        self._assume_identity = assume_identity
        self._mounts: dict[str, Pose] = {}

    def find(self, camera_frame: str, stamp: Any) -> Pose:
        """T_base_camera of the camera frame, at the image's stamp (builtin_interfaces/Time) when first asked.

        Raises:
            MountError: TF does not have the transform at that time; a later image may find it.
        """
        if self._assume_identity or camera_frame == self._base_frame:
            return Pose.identity()
        if camera_frame not in self._mounts:
            self._mounts[camera_frame] = self._look_up(camera_frame, stamp)
        return self._mounts[camera_frame]

    def _look_up(self, camera_frame: str, stamp: Any) -> Pose:
        waiting = f"waiting for transform {self._base_frame} <- {camera_frame}"
        try:
            found = self._buffer.lookup_transform(
                self._base_frame, camera_frame, Time.from_msg(stamp), Duration(seconds=self.timeout)
            )
        except tf2_ros.TransformException as error:
            raise MountError(f"{waiting}: {error}") from error
        q, t = found.transform.rotation, found.transform.translation
        mount = Pose.from_quaternion(np.array([q.x, q.y, q.z, q.w]), np.array([t.x, t.y, t.z]))
        if not np.isfinite(mount.matrix).all():
            raise MountError(f"{waiting}: the transform has values that are not finite")
        return mount
