"""From one image message and its camera_info to what the odometry makes of it."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import ImageError
from iup_pose_ros.estimators.base import RelativePoseEstimator
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.images import decode_compressed_image, decode_image
from iup_pose_ros.node.camera_model import CameraModel
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.node.stamps import StampClock
from iup_pose_ros.node.wheel_odometry import WheelsOfFrames
from iup_pose_ros.odometry import OdometryUpdate, VisualOdometry, WheelHistory
from iup_pose_ros.types import Frame, Matches


class View(NamedTuple):
    """An undistorted image and what was seen in it.

    Attributes:
        image: (H, W, 3) RGB or (H, W) grey.
        matches: tracks from the last keyframe into it.
        attention: the network's, (h, w) in [0, 1]; None where it was not asked about this image.
    """

    image: NDArray[np.uint8]
    matches: Matches | None
    attention: NDArray[np.float32] | None


class Mounts(Protocol):
    """Where cameras sit on the base (transforms.MountLookup); a lookup waits ``timeout`` seconds."""

    timeout: float

    def find(self, camera_frame: str, stamp: Any) -> Pose:
        """T_base_camera; raises MountError."""


class FramePipeline:
    """Decodes, undistorts and tracks the images of one camera; not thread-safe, the worker alone calls it.

    Args:
        estimator: relative pose of two frames.
        config: settings of the node.
        mounts: where the camera sits on the base.
        wheels: wheel odometry, where the settings ask for it.
    """

    def __init__(
        self,
        estimator: RelativePoseEstimator,
        config: NodeConfig,
        mounts: Mounts,
        wheels: WheelHistory | None = None,
    ) -> None:
        self._estimator = estimator
        self._wheels = wheels
        self._config = config
        self._mounts = mounts
        self._decode = decode_compressed_image if config.image_transport == "compressed" else decode_image
        self._camera = CameraModel(config.image_is_rectified)
        self.reset()

    def reset(self) -> None:
        """Back to the origin; the camera is asked for anew with the next image."""
        self.clock = StampClock()
        self._camera_frame = ""
        self._odometry: VisualOdometry | None = None
        self._image: NDArray[np.uint8] | None = None
        self._attention: NDArray[np.float32] | None = None

    def change(self, config: NodeConfig) -> None:
        """Goes on with other settings of what can change at run time."""
        self._config = config
        self._mounts.timeout = config.mount_timeout
        if self._odometry is not None:
            self._odometry.change(config.odometry)

    @property
    def keyframes(self) -> int:
        """Number of keyframes so far."""
        return 0 if self._odometry is None else self._odometry.keyframes

    @property
    def view(self) -> View | None:
        """The last image and what was tracked in it; None before the first good one."""
        if self._image is None or self._odometry is None:
            return None
        return View(self._image, self._odometry.matches, self._attention)

    def process(self, image: Any, info: Any) -> OdometryUpdate:
        """What the odometry makes of an image; its stamps are seconds of ``clock``.

        Args:
            image: sensor_msgs/Image, or CompressedImage where the settings say so.
            info: the sensor_msgs/CameraInfo that belongs to it.

        Raises:
            ImageError: the image cannot be decoded or comes from another camera than those before.
            CalibrationError: camera_info does not fit the image.
            MountError: the camera's mount is not known (yet).
        """
        pixels = self._decode(image)
        rectifier = self._camera.rectifier(info, pixels.shape[1], pixels.shape[0])
        odometry = self._odometry_of(image.header)
        stamp = self.clock.seconds(image.header.stamp)
        self._image, self._attention = rectifier.rectify(pixels), None
        update = odometry.process(Frame(self._image, rectifier.intrinsics, stamp, image.header.frame_id))
        if update.edge is not None:
            self._attention = update.edge.attention
        return update

    def _odometry_of(self, header: Any) -> VisualOdometry:
        """The odometry of the camera that took the first good image."""
        if not header.frame_id:
            raise ImageError("the image's header has no frame_id; the camera's optical frame is needed")
        if self._odometry is None:
            mount = self._mounts.find(header.frame_id, header.stamp)
            wheels = None if self._wheels is None else WheelsOfFrames(self._wheels, self.clock)
            self._odometry = VisualOdometry(self._estimator, self._config.odometry, mount, wheels)
            self._camera_frame = header.frame_id
        if header.frame_id != self._camera_frame:
            raise ImageError(
                f"image is from camera {header.frame_id!r}, but this node follows {self._camera_frame!r}: "
                "two cameras publish on one topic"
            )
        return self._odometry
