"""Lookup of the camera's extrinsics on TF."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tf2_ros
import tf_transformations
from rclpy.duration import Duration
from rclpy.time import Time

from iup_pose_ros.errors import DataError, ExtrinsicsError
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.message_poses import pose_of


class ExtrinsicsLookup:
    """Looks up the extrinsics ``T_base_camera`` of camera frames.

    Args:
        buffer: filled by a tf2_ros.TransformListener in another thread.
        base_frame: frame of the robot.
        timeout: maximum time that a lookup waits for the transform at the image's stamp, seconds.
        assume_identity: return identity without using TF.
        log: called with a message about every transform that is found.
    """

    def __init__(
        self,
        buffer: tf2_ros.Buffer,
        base_frame: str,
        timeout: float,
        assume_identity: bool,
        log: Callable[[str], object],
    ) -> None:
        self._log = log
        self._buffer = buffer
        self._base_frame = base_frame
        self.timeout = timeout
        self._assume_identity = assume_identity
        self._found: dict[str, Pose] = {}

    def find(self, camera_frame: str, stamp: Any = None) -> Pose:
        """Return T_base_camera.

        Args:
            camera_frame: frame of the camera.
            stamp: builtin_interfaces/Time of the image; used until a transform was found, then the latest is;
                None: the latest.

        Raises:
            ExtrinsicsError: TF never had the transform; a later image may find it.
        """
        if self._assume_identity or camera_frame == self._base_frame:
            return Pose.identity()
        known = self._found.get(camera_frame)
        at = Time() if stamp is None or known is not None else Time.from_msg(stamp)
        timeout = Duration(seconds=self.timeout if known is None else 0.0)
        try:
            found = self._buffer.lookup_transform(self._base_frame, camera_frame, at, timeout).transform
            T_base_camera = pose_of(found.translation, found.rotation)
        except (tf2_ros.TransformException, DataError) as error:
            if known is not None:
                return known  # TF is cleared when the clock jumps back
            raise ExtrinsicsError(
                f"waiting for transform {self._base_frame} <- {camera_frame}: {error}"
            ) from error
        self._found[camera_frame] = T_base_camera
        if known is not None:
            return T_base_camera
        # Logged as TF tools print it.
        x, y, z = T_base_camera.translation
        roll, pitch, yaw = np.degrees(tf_transformations.euler_from_matrix(T_base_camera.matrix))
        self._log(
            f"camera extrinsics {self._base_frame} <- {camera_frame}: x {x:.3f} y {y:.3f} z {z:.3f} m, "
            f"roll {roll:.1f} pitch {pitch:.1f} yaw {yaw:.1f} deg"
        )
        return T_base_camera
