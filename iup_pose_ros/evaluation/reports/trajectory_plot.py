"""Plot of a run: top view and side view of the trajectory, position error and tracking state over time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation.metrics.trajectory_errors import position_errors
from iup_pose_ros.evaluation.runs.accuracy import Accuracy
from iup_pose_ros.evaluation.runs.run_record import RunRecord
from iup_pose_ros.geometry.trajectory import Trajectory
from iup_pose_ros.odometry import TrackingState

# Trajectories with a larger aspect ratio are not drawn to scale.
_MAX_ASPECT = 12.0
_TRUTH, _ESTIMATE = "#444444", "#1f6fb4"
STATE_COLOURS = {
    TrackingState.INITIALIZING: "#bbbbbb",
    TrackingState.STATIONARY: "#e69f00",
    TrackingState.LOST: "#d62728",
}


@dataclass(frozen=True)
class ViewAxis:
    """A world axis of a plot: its index and whether it is drawn reversed, for example to let up be up."""

    index: int
    reversed: bool = False

    @property
    def name(self) -> str:
        """Return the axis label, for example ``-y``."""
        return ("-" if self.reversed else "") + "xyz"[self.index]

    def values(self, trajectory: Trajectory) -> np.ndarray:
        """Return the coordinates (N,) of the positions along this axis."""
        return (-1.0 if self.reversed else 1.0) * trajectory.positions[:, self.index]


def plot_run(path: Path, title: str, record: RunRecord, accuracy: Accuracy | None) -> None:
    """Write a PNG of the estimated trajectory, with the ground truth if the two are aligned.

    Args:
        path: PNG file.
        title: title of the plot.
        record: outputs of the run.
        accuracy: its errors; None without ground truth.

    Raises:
        DataError: the run has no pose, or the file cannot be written.
    """
    if not record.poses:
        raise DataError("the run has no pose: there is nothing to plot")
    estimate, reference, unit = record.trajectory, None, "trajectory units"
    if accuracy is not None and accuracy.aligned is not None:
        estimate, reference, unit = accuracy.aligned, accuracy.reference, "m"
    figure = Figure(figsize=(12.0, 6.4), dpi=120, layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=[1.15, 1.0])
    along, across, up = view_axes(reference or estimate)
    top, side, timeline = (figure.add_subplot(cell) for cell in (grid[:, 0], grid[0, 1], grid[1, 1]))
    draw_view(top, "top view", (along, across), estimate, reference, record, unit)
    draw_view(side, "side view", (along, up), estimate, reference, record, unit)
    draw_timeline(timeline, record, estimate, reference, unit)
    figure.axes[0].legend(loc="best", frameon=True, fontsize=9)
    figure.suptitle(title, fontsize=13, x=0.01, ha="left")
    try:
        figure.savefig(path)
    except OSError as failure:
        raise DataError(f"cannot write {path}: {failure.strerror}") from failure


def view_axes(trajectory: Trajectory) -> tuple[ViewAxis, ViewAxis, ViewAxis]:
    """Choose the plot axes: the longer horizontal, the shorter horizontal and the vertical world axis.

    The world axis that is closest to the mean y axis of the camera (down in the image) is the vertical one.
    """
    down = trajectory.rotations[:, :, 1].mean(axis=0)
    vertical = int(np.argmax(np.abs(down)))
    horizontal = [axis for axis in range(3) if axis != vertical]
    extents = np.ptp(trajectory.positions, axis=0)
    longer, shorter = sorted(horizontal, key=lambda axis: -extents[axis])
    # Together with the upward axis, the two horizontal axes must be right-handed.
    upward = -np.sign(down[vertical]) or 1.0
    handedness = np.cross(np.eye(3)[longer], np.eye(3)[shorter])[vertical] * upward
    return ViewAxis(longer), ViewAxis(shorter, bool(handedness < 0.0)), ViewAxis(vertical, bool(upward < 0.0))


def draw_view(
    axes: Axes,
    title: str,
    drawn: tuple[ViewAxis, ViewAxis],
    estimate: Trajectory,
    reference: Trajectory | None,
    record: RunRecord,
    unit: str,
) -> None:
    """Draw ground truth, estimate, keyframes and tracking states along two world axes."""
    first, second = drawn
    if reference is not None:
        truth = (first.values(reference), second.values(reference))
        axes.plot(*truth, "--", color=_TRUTH, lw=2.0, label="ground truth")
    x, y = first.values(estimate), second.values(estimate)
    axes.plot(x, y, "-", color=_ESTIMATE, lw=1.4, label="estimate")
    keyframe_stamps = [stamp for edge in record.edges for stamp in (edge.previous_stamp, edge.current_stamp)]
    keyframes = np.isin(estimate.stamps, keyframe_stamps)
    axes.plot(x[keyframes], y[keyframes], "o", color=_ESTIMATE, ms=3.0, label="keyframe")
    axes.plot(x[:1], y[:1], "D", color="#009e73", ms=7.0, label="start")
    draw_states(axes, x, y, estimate.stamps, record)
    axes.set_xlabel(f"{first.name} [{unit}]")
    axes.set_ylabel(f"{second.name} [{unit}]")
    to_scale = np.ptp(x) <= _MAX_ASPECT * np.ptp(y)
    axes.set_aspect("equal" if to_scale else "auto", adjustable="datalim")
    axes.set_title(title if to_scale else f"{title} (not to scale)", loc="left", fontsize=11)
    axes.margins(0.08)
    axes.grid(color="#dddddd", lw=0.6)


def draw_states(axes: Axes, x: np.ndarray, y: np.ndarray, stamps: np.ndarray, record: RunRecord) -> None:
    """Mark the stationary poses, and connect the poses before and after tracking was lost."""
    still = [frame.stamp for frame in record.frames if frame.state == TrackingState.STATIONARY]
    at_rest = np.isin(stamps, still)
    if at_rest.any():
        colour = STATE_COLOURS[TrackingState.STATIONARY]
        axes.plot(x[at_rest], y[at_rest], "s", color=colour, ms=5.0, label="stationary")
    lost = np.array([frame.stamp for frame in record.lost_frames])
    after = np.unique(np.searchsorted(stamps, lost))
    for number, index in enumerate(after[(after > 0) & (after < len(stamps))]):
        gap = slice(index - 1, index + 1)
        colour = STATE_COLOURS[TrackingState.LOST]
        axes.plot(x[gap], y[gap], color=colour, lw=3.0, label=None if number else "lost")


def draw_timeline(
    axes: Axes, record: RunRecord, estimate: Trajectory, reference: Trajectory | None, unit: str
) -> None:
    """Draw position error (without ground truth: distance from start) and tracking states over time."""
    start = float(record.image_stamps[0])
    if reference is not None:
        values, label = position_errors(estimate, reference), f"position error [{unit}]"
    else:
        steps = estimate.positions - estimate.positions[0]
        values, label = np.linalg.norm(steps, axis=1), f"distance from start [{unit}]"
    axes.plot(estimate.stamps - start, values, "-", color=_ESTIMATE, lw=1.2)
    for state, colour in STATE_COLOURS.items():
        spans = state_spans(record, state)
        axes.broken_barh(
            [(begin - start, end - begin) for begin, end in spans],
            (0.0, 1.0),
            transform=axes.get_xaxis_transform(),
            color=colour,
            alpha=0.3,
            lw=0.0,
            label=state.name.lower() if spans else None,
        )
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="best", fontsize=9)
    axes.set_xlim(0.0, float(record.image_stamps[-1]) - start)
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("time [s]")
    axes.set_ylabel(label)
    axes.grid(color="#dddddd", lw=0.6)


def state_spans(record: RunRecord, wanted: TrackingState) -> list[tuple[float, float]]:
    """Return the start and end stamps, seconds, of each period in which the tracker was in a state."""
    spans: list[tuple[float, float]] = []
    ends = [*(frame.stamp for frame in record.frames[1:]), float(record.image_stamps[-1])]
    for frame, end in zip(record.frames, ends, strict=True):
        if frame.state != wanted:
            continue
        if spans and spans[-1][1] == frame.stamp:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((frame.stamp, end))
    return spans
