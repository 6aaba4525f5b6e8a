"""Rendering of the demo flight to a rosbag2 recording with ground truth, cached on disk."""

from __future__ import annotations

import collections
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from iup_pose_ros.atomic import atomic_directory
from iup_pose_ros.bags.messages import CameraCalibration
from iup_pose_ros.bags.trajectory_io import write_tum
from iup_pose_ros.bags.writer import CameraExtrinsics, write_camera_bag
from iup_pose_ros.demo_scene.flight import LEVEL, fly
from iup_pose_ros.demo_scene.planes import PlaneScene, render
from iup_pose_ros.demo_scene.room import build_room
from iup_pose_ros.demo_scene.threads import one_thread_per_operation
from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.trajectory import Trajectory

CAMERA = Intrinsics(fx=312.0, fy=312.0, cx=241.3, cy=177.8, width=480, height=360)

_START = 1_700_000_000  # stamp of the first image, seconds
_NOISE = 1.5  # standard deviation, grey levels
_VIGNETTING = 0.15  # relative loss of brightness in the corners
_MAX_THREADS = 8
_RECIPE_FILE = "recipe.json"


@dataclass(frozen=True)
class Recipe:
    """Parameters of a recording; a recording with other parameters is rendered again.

    Attributes:
        version: increased with each change of the room, the flight or the rendering.
        duration: seconds.
        rate: frames per second.
        seed: random seed of room details, camera shake and image noise.
        storage: "mcap" or "sqlite3".
    """

    version: int = 1
    duration: float = 18.0
    rate: float = 20.0
    seed: int = 0
    storage: str = "mcap"


@dataclass(frozen=True)
class Recording:
    """Files of a recording.

    Attributes:
        bag: rosbag2 folder with /camera/image, /camera/camera_info and the camera extrinsics on /tf_static.
        groundtruth: TUM file with T_world_camera of the optical frame at the stamps of the images.
    """

    bag: Path
    groundtruth: Path


def record_demo(
    path: Path | str, recipe: Recipe | None = None, progress: Callable[[int, int], None] | None = None
) -> Recording:
    """Return the demo recording in folder ``path``; render it if it does not exist yet.

    Args:
        path: folder of the recording. A recording with another recipe is replaced.
        recipe: parameters of the recording; default: ``Recipe()``.
        progress: called with (number of rendered frames, total number of frames) after each frame.

    Raises:
        DataError: the path exists and is not a demo recording, or cannot be written.
    """
    path, recipe = Path(path), recipe or Recipe()
    recording = Recording(path / "bag", path / "groundtruth.tum")
    if path.exists():
        if _recipe_of(path) == asdict(recipe):
            return recording
        if _recipe_of(path) is None:
            raise DataError(f"{path} exists and is not a demo recording; it is not overwritten")
        # Of another recipe: outdated.
        shutil.rmtree(path, ignore_errors=True)
    with atomic_directory(path, "recording") as made, one_thread_per_operation():
        _record(made, recipe, progress)
    return recording


def _recipe_of(path: Path) -> dict[str, object] | None:
    """Return the recipe of the recording in a folder; None if there is no recording."""
    try:
        content = json.loads((path / _RECIPE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _record(path: Path, recipe: Recipe, progress: Callable[[int, int], None] | None) -> None:
    trajectory = fly(recipe.duration, recipe.rate, recipe.seed)
    extrinsics = CameraExtrinsics(Pose(LEVEL, np.zeros(3)))
    record_flight(path, trajectory, CAMERA, recipe.seed, extrinsics, recipe.storage, progress)
    recipe_text = json.dumps(asdict(recipe), indent=2)
    (path / _RECIPE_FILE).write_text(recipe_text + "\n", encoding="utf-8")


def record_flight(
    path: Path,
    trajectory: Trajectory,
    camera: Intrinsics,
    seed: int,
    extrinsics: CameraExtrinsics | None = None,
    storage: str = "mcap",
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Render a flight through the demo room to a rosbag2 folder ``bag`` and ``groundtruth.tum``.

    Args:
        path: existing folder.
        trajectory: T_world_camera of the optical frame; its stamps are seconds since ``_START``.
        camera: intrinsics of the images.
        seed: random seed of room details and image noise.
        extrinsics: pose of the camera in the base frame; None: not recorded.
        storage: "mcap" or "sqlite3".
        progress: called with the numbers of written and of all images.
    """
    stamps = [_START * 10**9 + round(stamp * 1e9) for stamp in trajectory.stamps.tolist()]
    calibration = CameraCalibration(camera)
    with write_camera_bag(
        path / "bag", calibration, extrinsics=extrinsics, storage=storage, start=stamps[0]
    ) as bag:
        frames = render_flight(build_room(seed), trajectory, camera, seed)
        for index, (stamp, image) in enumerate(zip(stamps, frames, strict=True)):
            bag.write_image(stamp, image)
            if progress is not None:
                progress(index + 1, len(stamps))
    absolute = Trajectory(trajectory.stamps + _START, trajectory.rotations, trajectory.positions)
    write_tum(path / "groundtruth.tum", absolute, "T_world_camera, optical frame")


def render_flight(
    scene: PlaneScene, trajectory: Trajectory, camera: Intrinsics, seed: int
) -> Iterator[NDArray[np.uint8]]:
    """Render images (H, W, 3) uint8 RGB along a trajectory, with sensor noise and vignetting.

    Frames are rendered in parallel, one per CPU core.

    Args:
        scene: what is rendered.
        trajectory: T_world_camera of the optical frame.
        camera: intrinsics of the images.
        seed: random seed of the noise.
    """
    workers = min(_MAX_THREADS, len(os.sched_getaffinity(0)))
    pending: collections.deque[Future[NDArray[np.uint8]]] = collections.deque()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for index in range(len(trajectory)):
                pose = trajectory.pose(index)
                pending.append(pool.submit(render_frame, scene, pose, camera, (seed, index)))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def render_frame(
    scene: PlaneScene, T_world_camera: Pose, camera: Intrinsics, seed: tuple[int, int]
) -> NDArray[np.uint8]:
    """Render an image (H, W, 3) uint8 RGB with sensor noise and vignetting; ``seed`` is that of the noise."""
    camera_matrix = torch.from_numpy(camera.matrix)[None]
    pose = torch.from_numpy(T_world_camera.matrix)[None]
    view = render(scene, camera_matrix, pose, camera.width, camera.height)
    image = view.image[0].permute(1, 2, 0).numpy() * np.float32(255.0)
    x = np.arange(camera.width) - (camera.width - 1) / 2
    y = np.arange(camera.height) - (camera.height - 1) / 2
    square = x**2 + y[:, None] ** 2
    image *= (1.0 - _VIGNETTING * square / square.max()).astype(np.float32)[..., None]
    noise = np.random.default_rng(seed).standard_normal(image.shape, dtype=np.float32)
    return np.asarray(np.clip(image + _NOISE * noise + 0.5, 0, 255), dtype=np.uint8)
