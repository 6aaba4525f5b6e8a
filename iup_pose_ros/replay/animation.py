"""Animated picture of a run: the debug image beside the growing trajectory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.errors import DataError
from iup_pose_ros.estimators.base import RelativePoseEstimator
from iup_pose_ros.evaluation.reports.trajectory_plot import view_axes
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.trajectory import Trajectory, align, associate
from iup_pose_ros.node.debug_image import draw_debug_image
from iup_pose_ros.odometry import VisualOdometry

FORMATS = (".webp", ".gif")
HEIGHT = 320  # pixels of the animation
_DPI = 100
_SAME_STAMP = 1e-4  # seconds; the ground truth is interpolated at the stamps of the poses

Picture = NDArray[np.uint8]
Snapshots = list[tuple[float, Picture]]  # stamps in seconds and debug images, HEIGHT pixels high


def write_animation(
    path: Path,
    bag: BagReader,
    estimator: RelativePoseEstimator,
    truth: Trajectory | None = None,
    every: int = 4,
    rate: float = 2.0,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Run the odometry on every image of a recording and write the animation.

    Args:
        path: file to write, .webp or .gif.
        bag: the recording.
        estimator: relative-pose estimator.
        truth: T_world_camera; drawn where given, and the estimate is then aligned to it by a Sim(3).
        every: show one of so many images.
        rate: speed, 1 as recorded.
        progress: called after every image.

    Raises:
        DataError: the format is unknown, the file cannot be written, or the recording shows no motion.
    """
    if path.suffix not in FORMATS:
        raise DataError(f"animation {path} has the format {path.suffix!r}; accepted are {', '.join(FORMATS)}")
    snapshots, estimate = _run(bag, estimator, every, progress)
    if len(estimate) < 2 or len(snapshots) < 2:
        raise DataError(f"bag {bag.path}: no motion was measured; there is nothing to animate")
    reference = None if truth is None else truth.at(estimate.stamps)
    if reference is not None:
        own, true = associate(estimate.stamps, reference.stamps, _SAME_STAMP)
        estimate = align(estimate.positions[own], reference.positions[true], with_scale=True).apply(estimate)
    pictures = [Image.fromarray(picture) for picture in _compose(snapshots, estimate, reference)]
    period = round(1e3 * float(np.median(np.diff([stamp for stamp, _ in snapshots]))) / rate)
    try:
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=period, loop=0, quality=50)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error


def _run(
    bag: BagReader, estimator: RelativePoseEstimator, every: int, progress: Callable[[], None]
) -> tuple[Snapshots, Trajectory]:
    """Return the debug images and the path T_odom_camera."""
    odometry = VisualOdometry(estimator)
    snapshots: Snapshots = []
    path: list[tuple[float, Pose]] = []
    for index, frame in enumerate(bag.frames()):
        update = odometry.process(frame)
        if update.pose is not None:
            if not path and update.edge is not None:  # the first keyframe is the origin and is not published
                path.append((update.edge.previous_stamp, Pose.identity()))
            path.append((update.stamp, update.pose.pose))
        if index % every == 0:
            tracks = odometry.matches
            lines = [f"{odometry.keyframes} keyframes, {0 if tracks is None else len(tracks)} tracks"]
            picture = draw_debug_image(frame.image, tracks, update.state.name, lines, attention=None)
            width = round(HEIGHT * picture.shape[1] / picture.shape[0])
            resized = cv2.resize(picture, (width, HEIGHT), interpolation=cv2.INTER_AREA)
            snapshots.append((frame.stamp, np.asarray(resized, dtype=np.uint8)))
        progress()
    return snapshots, Trajectory.from_poses([stamp for stamp, _ in path], [pose for _, pose in path])


def _compose(snapshots: Snapshots, estimate: Trajectory, reference: Trajectory | None) -> list[Picture]:
    """Return (HEIGHT, W, 3) RGB pictures: each debug image, and on its right the path until its stamp."""
    figure = Figure(figsize=(HEIGHT / _DPI, HEIGHT / _DPI), dpi=_DPI, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    first, second, _ = view_axes(reference or estimate)
    x, y = first.values(estimate), second.values(estimate)
    if reference is not None:
        axes.plot(
            first.values(reference), second.values(reference), "--", color="#999999", label="ground truth"
        )
    axes.plot(x, y, alpha=0.0)  # fixes the limits
    (path,) = axes.plot([], [], "-", color="#1f6fb4", lw=3.0, label="estimate")
    unit = "units" if reference is None else "m"
    axes.set(xlabel=f"{first.name} [{unit}]", ylabel=f"{second.name} [{unit}]", title="from above")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(loc="upper right", fontsize=8)
    axes.grid(color="#dddddd")
    pictures = []
    for stamp, debug_image in snapshots:
        past = estimate.stamps <= stamp
        path.set_data(x[past], y[past])
        canvas.draw()
        pictures.append(np.hstack([debug_image, np.asarray(canvas.buffer_rgba())[..., :3]]))
    return pictures
