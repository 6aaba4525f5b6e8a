"""A small world for the odometry's tests: points, textured walls, cameras and an all-knowing estimator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.base import EstimatorInfo
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.odometry import OdometryConfig, OdometryUpdate, TrackingState, VisualOdometry
from iup_pose_ros.odometry.track_geometry import TrackedRays
from iup_pose_ros.types import Frame, Matches, RelativePose

INTRINSICS = Intrinsics(260.0, 260.0, 159.5, 119.5, 320, 240)
SIGMA_R, SIGMA_T = 0.001, 0.01


def pose(x: float = 0.0, y: float = 0.0, z: float = 0.0, turn: Sequence[float] = (0.0, 0.0, 0.0)) -> Pose:
    """T_world_camera: position in metres, rotation vector in radians."""
    return Pose(so3.exp(np.array(turn)), np.array([x, y, z]))


def relative_pose(T_prev_curr: Pose, sigma_R: float = SIGMA_R, sigma_t: float = SIGMA_T) -> RelativePose:
    """An estimator's answer: unit translation, independent errors; without a direction it makes one up."""
    length = float(np.linalg.norm(T_prev_curr.translation))
    direction = T_prev_curr.translation / length if length > 1e-9 else np.array([0.0, 0.6, 0.8])
    covariance = np.diag(np.repeat([sigma_t**2, sigma_R**2], 3))
    turn = np.full(3, sigma_R)
    return RelativePose(Pose(T_prev_curr.rotation, direction), covariance, turn, sigma_t, False, "oracle")


def disturbed(relative: RelativePose, rng: np.random.Generator) -> RelativePose:
    """The answer with errors drawn from its covariance."""
    error = rng.multivariate_normal(np.zeros(6), relative.covariance)
    moved = relative.T_prev_curr.translation + error[:3]
    rotation = so3.exp(error[3:]) @ relative.T_prev_curr.rotation
    wrong = Pose(rotation, moved / np.linalg.norm(moved))
    return RelativePose(wrong, relative.covariance, relative.sigma_R, relative.sigma_t, False, "oracle")


@dataclass
class Cloud:
    """Points at 3 to 12 m in front of the origin, seen with noise in pixels."""

    count: int = 300
    noise: float = 0.0
    seed: int = 0
    rng: np.random.Generator = field(init=False)
    points: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        pixels = self.rng.uniform([0.0, 0.0], [320.0, 240.0], (self.count, 2))
        self.points = INTRINSICS.rays(pixels) * self.rng.uniform(3.0, 12.0, (self.count, 1))

    def rays(
        self, T_world_prev: Pose, T_world_curr: Pose, first: int = 0, last: int | None = None
    ) -> TrackedRays:
        """Tracks of points first to last between two cameras; the noise is that of the tracked motion."""
        ids = np.arange(first, self.count if last is None else last, dtype=np.int64)
        previous = INTRINSICS.project(T_world_prev.inverse().apply(self.points[ids]))
        current = INTRINSICS.project(T_world_curr.inverse().apply(self.points[ids]))
        current = current + self.rng.normal(0.0, 1.0, current.shape) * self.noise
        return TrackedRays.of(ids, Matches(previous, current), INTRINSICS)


# Walls that face the camera: depth, left, top, width, height in metres.
_WALLS = ((7.0, -16.0, -10.0, 32.0, 20.0), (4.0, 0.4, -1.6, 2.6, 2.2), (3.0, -2.2, -0.6, 1.8, 2.0))
_TEXELS_PER_METRE = 40


def _texture(width: float, height: float, seed: int) -> NDArray[np.uint8]:
    shape = (int(height * _TEXELS_PER_METRE), int(width * _TEXELS_PER_METRE))
    rng = np.random.default_rng(seed)
    layers = [
        cv2.GaussianBlur(rng.normal(0.0, 1.0, shape), (0, 0), sigma) * sigma for sigma in (1.5, 4.0, 12.0)
    ]
    noise = np.sum(layers, axis=0)
    return np.clip(128.0 + 55.0 * noise / noise.std(), 0, 255).astype(np.uint8)


_TEXTURES = tuple(_texture(width, height, 5 + row) for row, (_, _, _, width, height) in enumerate(_WALLS))


def render(T_world_camera: Pose, intrinsics: Intrinsics = INTRINSICS) -> NDArray[np.uint8]:
    """Grey image of the walls."""
    image = np.zeros((intrinsics.height, intrinsics.width), dtype=np.uint8)
    T_camera_world = T_world_camera.inverse()
    for texture, (depth, left, top, _, _) in zip(_TEXTURES, _WALLS, strict=True):
        axes = np.eye(3)[:, :2] / _TEXELS_PER_METRE
        plane = np.column_stack([axes, [left, top, depth]])
        homography = T_camera_world.rotation @ plane
        homography[:, 2] += T_camera_world.translation
        size = (intrinsics.width, intrinsics.height)
        mapped = cv2.warpPerspective(texture, intrinsics.matrix @ homography, size, flags=cv2.INTER_LINEAR)
        mask = cv2.warpPerspective(np.full_like(texture, 255), intrinsics.matrix @ homography, size)
        image = np.where(mask > 127, mapped, image).astype(np.uint8)
    return image


def depths(T_world_camera: Pose, intrinsics: Intrinsics = INTRINSICS) -> NDArray[np.float64]:
    """Depth (H, W) of the walls along the optical axis, metres; NaN where there is none."""
    y, x = np.mgrid[: intrinsics.height, : intrinsics.width]
    rays = intrinsics.rays(np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64))
    rays = rays @ T_world_camera.rotation.T
    found = np.full(len(rays), np.nan)
    for depth, left, top, width, height in _WALLS:
        distance = (depth - T_world_camera.translation[2]) / rays[:, 2]
        across, down = (T_world_camera.translation + distance[:, None] * rays)[:, :2].T - [[left], [top]]
        inside = (across >= 0.0) & (across <= width) & (down >= 0.0) & (down <= height)
        found[inside & (distance > 0.0)] = distance[inside & (distance > 0.0)]
    return found.reshape(intrinsics.height, intrinsics.width)


def frame(stamp: float, T_world_camera: Pose, noise: float = 1.0) -> Frame:
    """The walls as a camera sees them at ``stamp``, with grey-level noise."""
    rng = np.random.default_rng(int(stamp * 1e4) % 2**31)
    image = render(T_world_camera) + rng.normal(0.0, 1.0, (INTRINSICS.height, INTRINSICS.width)) * noise
    return Frame(image.clip(0, 255).astype(np.uint8), INTRINSICS, stamp, "camera_optical")


_OBJECT = _texture(12.0, 9.0, 77)


def with_object(
    seen: Frame, T_camera_object: Pose, width: float, height: float, masked: bool = False
) -> Frame:
    """The frame behind a textured rectangle, in metres, in the plane z = 0 of its frame."""
    texture = _OBJECT[: int(height * _TEXELS_PER_METRE), : int(width * _TEXELS_PER_METRE)]
    axes = np.eye(3)[:, :2] / _TEXELS_PER_METRE
    homography = T_camera_object.rotation @ np.column_stack([axes, [-width / 2, -height / 2, 0.0]])
    homography[:, 2] += T_camera_object.translation
    size = (INTRINSICS.width, INTRINSICS.height)
    mapped = cv2.warpPerspective(texture, INTRINSICS.matrix @ homography, size, flags=cv2.INTER_LINEAR)
    mask = cv2.warpPerspective(np.full_like(texture, 255), INTRINSICS.matrix @ homography, size)
    noise = np.random.default_rng(int(seen.stamp * 1e4) + 1).normal(0.0, 1.0, mask.shape)
    image = np.where(mask > 127, mapped + noise, seen.image).clip(0, 255).astype(np.uint8)
    return replace(seen, image=image, mask=mask.astype(np.uint8) if masked else None)


PERIOD = 0.1  # seconds between the frames of drive()
CONFIG = OdometryConfig(maximum_tracks=300)


def forward_right(time: float) -> Pose:
    """A curve at 1 m/s or so, made to last four seconds among the walls."""
    return pose(-0.8 + 0.9 * time, 0.05 * time, 0.5 * time, turn=(0.0, 0.03 * time, 0.0))


def drive(vo: VisualOdometry, path: Callable[[float], Pose], indices: Iterable[int]) -> list[OdometryUpdate]:
    """Updates of the frames with these numbers along a path."""
    return [vo.process(frame(PERIOD * k, path(PERIOD * k))) for k in indices]


def states(updates: list[OdometryUpdate]) -> set[TrackingState]:
    """States that occur in updates."""
    return {update.state for update in updates}


def black(stamp: float) -> Frame:
    """What a covered camera sees: darkness and a little noise."""
    rng = np.random.default_rng(int(stamp * 1e4) % 2**31)
    image = rng.integers(0, 4, (INTRINSICS.height, INTRINSICS.width)).astype(np.uint8)
    return Frame(image, INTRINSICS, stamp, "camera_optical")


Path = Callable[[float], Pose]


class Oracle:
    """Knows the path: answers with the true relative pose unless told to fail or to answer something else."""

    name = "oracle"
    info = EstimatorInfo("oracle")

    def __init__(self, path: Path, metric: bool = False) -> None:
        self._path = path
        self._metric = metric
        self.calls = 0
        self.failure: str | None = None
        self.change: Callable[[RelativePose], RelativePose] = lambda relative: relative

    def truth(self, previous_stamp: float, current_stamp: float) -> Pose:
        """True T_prev_curr in metres."""
        return self._path(previous_stamp).inverse() @ self._path(current_stamp)

    def estimate(self, previous: Frame, current: Frame, matches: Matches | None = None) -> RelativePose:
        """See RelativePoseEstimator.estimate."""
        self.calls += 1
        if self.failure is not None:
            raise EstimationError(self.failure)
        T_prev_curr = self.truth(previous.stamp, current.stamp)
        answer = relative_pose(T_prev_curr)
        if self._metric:
            answer = replace(answer, T_prev_curr=T_prev_curr, metric=True)
        return self.change(answer)


def odometry(path: Path, config: OdometryConfig = CONFIG) -> tuple[VisualOdometry, Oracle]:
    """Odometry with an estimator that knows the path."""
    oracle = Oracle(path)
    return VisualOdometry(oracle, config), oracle


def positive_definite(covariance: NDArray[np.float64]) -> bool:
    """Whether a covariance is finite, symmetric and positive definite."""
    symmetric = np.allclose(covariance, covariance.T, rtol=1e-9, atol=0.0)
    return bool(np.all(np.isfinite(covariance)) and symmetric and np.linalg.eigvalsh(covariance)[0] > 0.0)


def deviations(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviations of a covariance."""
    return np.sqrt(np.diag(covariance))


def error_of(found: PoseWithCovariance, truth: Pose) -> NDArray[np.float64]:
    """Error (6,) of a pose, in the order and the axes of its covariance."""
    turn = so3.log(truth.rotation @ found.pose.rotation.T)
    return np.concatenate([truth.translation - found.pose.translation, turn])


def nees(found: PoseWithCovariance, truth: Pose) -> float:
    """Normalised estimation error squared of a pose."""
    error = error_of(found, truth)
    return float(error @ np.linalg.solve(found.covariance, error))
