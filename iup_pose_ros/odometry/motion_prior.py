"""Motion of the base by another sensor (odometry or gyroscope), in metres and in the trajectory's unit.

It carries the pose through a loss and predicts the camera's rotation for the tracking.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.geometry.so3 import Array, angle
from iup_pose_ros.odometry.scaled_step import HELD_LENGTH, ScaledStep
from iup_pose_ros.odometry.track_geometry import robust_sigma
from iup_pose_ros.odometry.wheels import GyroHistory, WheelHistory

# Maximum seconds that an image waits for a measurement at or after its stamp.
_PATIENCE = 0.05
# Minimum standard deviations of a motion by odometry: share of length and angle, metres, radians.
_ODOMETRY_SHARE = 0.03
_ODOMETRY_SIGMAS = np.repeat([0.003, 0.002], 3)
# Standard deviations of an integrated angular velocity: bias, rad/s; share of the angle; radians.
_GYRO_BIAS = 0.01
_GYRO_SHARE = 0.02
_GYRO_SIGMA = 0.001
# Standard deviation of the mounting rotation between camera and sensor, radians; it turns the motion.
_MOUNT_SIGMA = 0.02
# The unit of length is the median ratio over the last steps: number of steps, minimum number, minimum length
# of a step in metres, maximum relative deviation of the ratios, minimum deviation of their median.
_STEPS, _MIN_STEPS = 20, 3
_MIN_LENGTH = 0.02
_MAX_SPREAD = 0.3
_BEST_UNIT = 0.03


@dataclass(frozen=True, eq=False)
class PriorMotion:
    """Motion of the base between two stamps.

    Attributes:
        pose: T_start_end, metres.
        variances: (6,) of x, y, z, rotX, rotY, rotZ in the start frame; infinite where nothing is measured.
    """

    pose: Pose
    variances: Array


class MotionPrior(Protocol):
    """Interface of a sensor that measures the motion of the base."""

    def between(self, start: float, end: float) -> PriorMotion:
        """Return the motion between two times in seconds on the clock of the frames' stamps.

        Raises:
            EstimationError: the measurements do not cover the two times.
        """


class OdometryPrior:
    """Motion prior by odometry, with the covariance of its twist.

    Args:
        history: poses of the base.
        nanoseconds: converts the seconds of the frames' stamps to those of the history.
    """

    def __init__(self, history: WheelHistory, nanoseconds: Callable[[float], int]) -> None:
        self._history = history
        self._nanoseconds = nanoseconds

    def between(self, start: float, end: float) -> PriorMotion:
        """See MotionPrior.between."""
        pose = self._history.between(self._nanoseconds(start), self._nanoseconds(end), _PATIENCE)
        amounts = np.repeat([np.linalg.norm(pose.translation), float(angle(pose.rotation))], 3)
        assumed = _ODOMETRY_SIGMAS**2 + (_ODOMETRY_SHARE * amounts) ** 2
        # The error of a velocity is taken as constant over the interval.
        return PriorMotion(pose, np.maximum(assumed, self._history.rate_variances * (end - start) ** 2))


class GyroPrior:
    """Motion prior by the angular velocities of an IMU: rotation only.

    Args:
        history: integrated angular velocities.
        nanoseconds: converts the seconds of the frames' stamps to those of the history.
        T_base_imu: returns the pose of the IMU in the base frame; it may raise EstimationError.
    """

    def __init__(
        self, history: GyroHistory, nanoseconds: Callable[[float], int], T_base_imu: Callable[[], Pose]
    ) -> None:
        self._history = history
        self._nanoseconds = nanoseconds
        self._T_base_imu = T_base_imu

    def between(self, start: float, end: float) -> PriorMotion:
        """See MotionPrior.between."""
        turn = self._history.between(self._nanoseconds(start), self._nanoseconds(end), _PATIENCE).rotation
        mount = self._T_base_imu().rotation
        duration = end - start
        noise = float(np.max(self._history.rate_variances[3:])) * duration**2
        assumed = _GYRO_SIGMA**2 + (_GYRO_BIAS * duration) ** 2 + (_GYRO_SHARE * float(angle(turn))) ** 2
        variances = np.repeat([np.inf, max(assumed, noise)], 3)
        return PriorMotion(Pose(mount @ turn @ mount.T, np.zeros(3)), variances)


class Bridge:
    """Motions by a motion prior in the trajectory's unit, which steps that both have measured determine.

    Args:
        prior: the motion prior; None: no motion is known.
        T_base_camera: pose of the camera in the base frame, metres.

    Attributes:
        problem: why the prior did not give its latest motion; empty if it did.
    """

    def __init__(self, prior: MotionPrior | None, T_base_camera: Pose) -> None:
        self.problem = ""
        self._prior = prior
        self._T_base_camera = T_base_camera
        self._ratios: deque[float] = deque(maxlen=_STEPS)
        self._is_metric = False

    def learn(self, step: ScaledStep, start: float, end: float) -> None:
        """Compare a step of the camera with that of the prior; one of assumed length begins a new unit."""
        self._is_metric = step.metric
        if step.source.endswith(HELD_LENGTH):
            self._ratios.clear()
            return
        prior = self._between(start, end)
        if prior is None or not np.isfinite(prior.variances).all():
            return
        length = float(np.linalg.norm(self._of_camera(prior.pose).translation))
        measured = float(np.linalg.norm(step.camera.pose.translation))
        if length >= _MIN_LENGTH and measured > 0.0:
            self._ratios.append(measured / length)

    def rotation(self, start: float, end: float) -> Array | None:
        """Return the rotation R_start_end (3, 3) of the camera; None if it is not known."""
        prior = self._between(start, end)
        return None if prior is None else self._of_camera(prior.pose).rotation

    def motion(self, start: float, end: float, unobserved: Array) -> PoseWithCovariance | None:
        """Return T_start_end of the base in the trajectory's unit; None if it is not known.

        Args:
            start: seconds.
            end: seconds.
            unobserved: (6,) variances of a motion of which nothing is known. With the square of the motion
                itself they limit those of the prior, which drivers set to huge values for some axes.
        """
        prior = self._between(start, end)
        if prior is None:
            return None
        unit, deviation = self._unit()
        base, variances = Pose(prior.pose.rotation, np.zeros(3)), prior.variances.copy()
        turn, length = float(angle(prior.pose.rotation)), 0.0
        variances[3:] += (_MOUNT_SIGMA * turn) ** 2
        if unit > 0.0 and np.isfinite(variances).all():
            camera = self._of_camera(prior.pose)
            scaled = PoseWithCovariance.exact(Pose(camera.rotation, unit * camera.translation))
            base = scaled.change_of_frame(self._T_base_camera).pose
            length = float(np.linalg.norm(base.translation))
            relative = float(np.hypot(_MOUNT_SIGMA, deviation))
            variances[:3] = unit**2 * variances[:3] + (relative * length) ** 2
        else:
            variances[:3] = np.inf
        limit = unobserved + np.repeat([length**2, turn**2], 3)
        return PoseWithCovariance(base, np.diag(np.minimum(variances, limit)))

    def _between(self, start: float, end: float) -> PriorMotion | None:
        """Return the motion of the prior, or None and set ``problem``."""
        self.problem = ""
        try:
            return None if self._prior is None else self._prior.between(start, end)
        except EstimationError as error:
            self.problem = str(error)
            return None

    def _of_camera(self, base: Pose) -> Pose:
        """Return the motion of the camera, metres, during one of the base."""
        return self._T_base_camera.inverse() @ base @ self._T_base_camera

    def _unit(self) -> tuple[float, float]:
        """Return units of the trajectory per metre and their relative standard deviation; 0 if unknown."""
        if self._is_metric:
            return 1.0, 0.0
        if len(self._ratios) < _MIN_STEPS:
            return 0.0, 0.0
        logarithms = np.log(self._ratios)
        middle = float(np.median(logarithms))
        spread = robust_sigma(logarithms - middle, _BEST_UNIT)
        if spread > _MAX_SPREAD:
            return 0.0, 0.0
        return float(np.exp(middle)), spread
