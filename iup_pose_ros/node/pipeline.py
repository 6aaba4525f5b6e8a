"""Conversion of an image message and its camera_info to an odometry update; without ROS."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import EstimationError, ExtrinsicsError, ImageError
from iup_pose_ros.estimators.base import RelativePoseEstimator
from iup_pose_ros.frame_builder import FrameBuilder
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import angle
from iup_pose_ros.message_poses import optical_frame_warning
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.odometry import MetricSensors, OdometryUpdate, VisualOdometry
from iup_pose_ros.odometry.motion_prior import GyroPrior, MotionPrior, OdometryPrior
from iup_pose_ros.odometry.scene_sensors import DepthHistory, RangeHistory
from iup_pose_ros.odometry.sensor_histories import SensorHistories
from iup_pose_ros.odometry.wheels import WheelsOfFrames
from iup_pose_ros.stamps import StampClock
from iup_pose_ros.types import Matches

# Maximum change of the camera's pose on the base, degrees and metres: play of joints and suspension.
_MAX_TURN = 5.0
_MAX_SHIFT = 0.05


class ProcessedFrame(NamedTuple):
    """The odometry update of one image, with the contents of the debug image.

    Attributes:
        update: the update; its stamps are seconds of ``FramePipeline.clock``.
        image: the undistorted image, (H, W, 3) RGB or (H, W) grey.
        matches: tracks from the last keyframe into the image; None where nothing is tracked.
        mask: (H, W), non-zero where pixels are ignored; None without a mask.
        masked_share: share of the pixels that are ignored.
    """

    update: OdometryUpdate
    image: NDArray[np.uint8]
    matches: Matches | None
    mask: NDArray[np.uint8] | None = None
    masked_share: float = 0.0


class Extrinsics(Protocol):
    """Sensor poses in the base frame; a lookup on TF waits ``timeout`` seconds."""

    timeout: float

    def find(self, camera_frame: str, stamp: Any = None) -> Pose:
        """Return T_base_camera at a stamp, None: the latest; raise ExtrinsicsError if it is unknown."""


class FramePipeline:
    """Decode, undistort and track the images of one camera; not thread-safe, only the worker calls it.

    Args:
        estimator: relative pose estimator.
        config: settings of the node.
        extrinsics: pose of the camera in the base frame.
        sensors: measurements beside the images.
        topic: image topic.
    """

    def __init__(
        self,
        estimator: RelativePoseEstimator,
        config: NodeConfig,
        extrinsics: Extrinsics,
        sensors: SensorHistories,
        topic: str = "",
    ) -> None:
        self._estimator = estimator
        self._config = config
        self._extrinsics = extrinsics
        self._histories = sensors
        self._topic = topic
        self.reset()

    def reset(self) -> None:
        """Reset to the origin; the next image determines camera and extrinsics again."""
        self.clock = StampClock()
        self._frames = FrameBuilder(
            self.clock.seconds, self._config.image_transport == "compressed", self._config, self._topic
        )
        self._camera_frame = ""
        self._mount_warning = ""
        self._T_base_camera = Pose.identity()
        self._odometry: VisualOdometry | None = None

    def change(self, config: NodeConfig) -> None:
        """Apply changed run-time parameters."""
        self._config = config
        self._extrinsics.timeout = config.mount_timeout
        if self._odometry is not None:
            self._odometry.change(config.odometry)

    @property
    def keyframes(self) -> int:
        """Number of keyframes so far."""
        return 0 if self._odometry is None else self._odometry.keyframes

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about camera and calibration, one sentence each."""
        problem = "" if self._odometry is None else self._odometry.prior_problem
        prior = f"motion_prior {self._config.motion_prior} is not used: {problem}" if problem else ""
        return (*self._frames.warnings, *(text for text in (self._mount_warning, prior) if text))

    def process(self, image: Any, info: Any, mask: Any = None) -> ProcessedFrame:
        """Return the odometry update of an image.

        Args:
            image: sensor_msgs/Image, or CompressedImage if image_transport is compressed.
            info: the sensor_msgs/CameraInfo of the image.
            mask: sensor_msgs/Image of the pixels to ignore (FrameBuilder.build), or None.

        Raises:
            ImageError: the image or mask cannot be decoded, the mask has another size than the image, or the
                image comes from another camera than the first one.
            CalibrationError: camera_info does not match the image.
            ExtrinsicsError: the camera's extrinsics are not known (yet), or have changed.
        """
        frame = self._frames.build(image, info, mask)
        if not frame.frame_id:
            raise ImageError("the image header has no frame_id; the camera's optical frame is required")
        if self._odometry is not None and frame.frame_id != self._camera_frame:
            raise ImageError(
                f"image is from camera {frame.frame_id!r}, but this node tracks {self._camera_frame!r}: "
                "two cameras publish on one topic"
            )
        T_base_camera = self._extrinsics.find(frame.frame_id, image.header.stamp)
        # The first valid image creates the odometry, with the extrinsics of its camera.
        if self._odometry is None:
            self._T_base_camera = T_base_camera
            self._odometry = VisualOdometry(
                self._estimator, self._config.odometry, T_base_camera, self._sensors(), self._prior()
            )
            self._camera_frame = frame.frame_id
            if not self._config.assume_identity_mount:
                self._mount_warning = optical_frame_warning(
                    frame.frame_id, self._config.base_frame, T_base_camera
                )
        self._check_mount(T_base_camera)
        update = self._odometry.process(frame)
        return ProcessedFrame(update, frame.image, self._odometry.matches, frame.mask, frame.masked_share)

    def _check_mount(self, T_base_camera: Pose) -> None:
        """Raise ExtrinsicsError if the camera's pose on the base has changed since the first image."""
        moved = self._T_base_camera.inverse() @ T_base_camera
        turn, shift = float(np.degrees(angle(moved.rotation))), float(np.linalg.norm(moved.translation))
        if turn > _MAX_TURN or shift > _MAX_SHIFT:
            raise ExtrinsicsError(
                f"transform {self._config.base_frame} <- {self._camera_frame} has changed by {turn:.1f} deg "
                f"and {shift:.2f} m since the first image ({_MAX_TURN:g} deg and {_MAX_SHIFT:g} m are "
                "accepted): the camera must be fixed to the base; call ~/reset to use the new transform"
            )

    def _prior(self) -> MotionPrior | None:
        """Return the motion prior that the settings name."""
        gyro, wheels, extrinsics = self._histories.gyro, self._histories.wheels, self._extrinsics
        if gyro is not None:

            def T_base_imu() -> Pose:
                try:
                    return extrinsics.find(gyro.frame_id)
                except ExtrinsicsError as error:
                    raise EstimationError(str(error)) from error

            return GyroPrior(gyro, self.clock.nanoseconds, T_base_imu)
        if wheels is not None and self._config.motion_prior == "odometry":
            return OdometryPrior(wheels, self.clock.nanoseconds)
        return None

    def _sensors(self) -> MetricSensors:
        """Return the sensors of the scale, with the clock of the frames."""
        source, slop = self._config.odometry.scale_source, self._config.odometry.depth_slop
        to_nanoseconds, wheels, scene = self.clock.nanoseconds, self._histories.wheels, self._histories.scene
        if scene is not None and source == "depth":
            depth = DepthHistory(scene, slop, to_nanoseconds, self._frames.undistorted_depth)
            return MetricSensors(depth=depth)
        if scene is not None and source == "range":
            return MetricSensors(ranges=RangeHistory(scene, slop, to_nanoseconds, self._extrinsics.find))
        return MetricSensors(wheels=None if wheels is None else WheelsOfFrames(wheels, self.clock))
