"""A picture of a run: the camera's path from above and from the side, and its error over time."""

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

# A path this many times longer than wide is stretched: to scale it would be a mere line.
_STRAIGHT = 12.0
_TRUTH, _ESTIMATE = "#444444", "#1f6fb4"
STATE_COLOURS = {
    TrackingState.INITIALIZING: "#bbbbbb",
    TrackingState.STATIONARY: "#e69f00",
    TrackingState.LOST: "#d62728",
}


@dataclass(frozen=True)
class ViewAxis:
    """One world axis as drawn: its index and whether it is drawn reversed, so that up is up."""

    index: int
    reversed: bool = False

    @property
    def name(self) -> str:
        return ("-" if self.reversed else "") + "xyz"[self.index]

    def values(self, trajectory: Trajectory) -> np.ndarray:
        return (-1.0 if self.reversed else 1.0) * trajectory.positions[:, self.index]


def plot_run(path: Path, title: str, record: RunRecord, accuracy: Accuracy | None) -> None:
    """Write a PNG of the estimated path (aligned to the ground truth where there is one).

    Raises:
        DataError: the run has no pose to draw, or the file cannot be written.
    """
    if not record.poses:
        raise DataError("the run has no pose: there is nothing to plot")
    aligned = accuracy is not None and accuracy.aligned is not None
    estimate = (
        accuracy.aligned if accuracy is not None and accuracy.aligned is not None else record.trajectory
    )
    reference = accuracy.reference if accuracy is not None and aligned else None
    unit = "m" if aligned else "trajectory units"
    figure = Figure(figsize=(12.0, 6.4), dpi=120, layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=[1.15, 1.0])
    along, across, up = view_axes(reference or estimate)
    _draw_view(
        figure.add_subplot(grid[:, 0]), "from above", (along, across), estimate, reference, record, unit
    )
    _draw_view(
        figure.add_subplot(grid[0, 1]), "from the side", (along, up), estimate, reference, record, unit
    )
    _draw_timeline(figure.add_subplot(grid[1, 1]), record, estimate, reference, unit)
    figure.axes[0].legend(loc="best", frameon=True, fontsize=9)
    figure.suptitle(title, fontsize=13, x=0.01, ha="left")
    try:
        figure.savefig(path)
    except OSError as failure:
        raise DataError(f"cannot write {path}: {failure.strerror}") from failure


def view_axes(trajectory: Trajectory) -> tuple[ViewAxis, ViewAxis, ViewAxis]:
    """The longer and the shorter horizontal world axis and the vertical one.

    The world axis that is closest to the camera's mean y axis (down in the image) counts as vertical.
    """
    down = trajectory.rotations[:, :, 1].mean(axis=0)
    vertical = int(np.argmax(np.abs(down)))
    horizontal = [axis for axis in range(3) if axis != vertical]
    extents = np.ptp(trajectory.positions, axis=0)
    longer, shorter = sorted(horizontal, key=lambda axis: -extents[axis])
    # Seen from above the turn from the first to the second drawn axis is anticlockwise: right-handed with up.
    upward = -np.sign(down[vertical]) or 1.0
    handedness = np.cross(np.eye(3)[longer], np.eye(3)[shorter])[vertical] * upward
    return ViewAxis(longer), ViewAxis(shorter, bool(handedness < 0.0)), ViewAxis(vertical, bool(upward < 0.0))


def _draw_view(
    axes: Axes,
    title: str,
    drawn: tuple[ViewAxis, ViewAxis],
    estimate: Trajectory,
    reference: Trajectory | None,
    record: RunRecord,
    unit: str,
) -> None:
    first, second = drawn
    if reference is not None:
        axes.plot(
            first.values(reference),
            second.values(reference),
            "--",
            color=_TRUTH,
            lw=2.0,
            label="ground truth",
        )
    x, y = first.values(estimate), second.values(estimate)
    axes.plot(x, y, "-", color=_ESTIMATE, lw=1.4, label="estimate")
    keyframes = np.isin(estimate.stamps, _keyframe_stamps(record))
    axes.plot(x[keyframes], y[keyframes], "o", color=_ESTIMATE, ms=3.0, label="keyframe")
    axes.plot(x[:1], y[:1], "D", color="#009e73", ms=7.0, label="start")
    _draw_states(axes, x, y, estimate.stamps, record)
    axes.set_xlabel(f"{first.name} [{unit}]")
    axes.set_ylabel(f"{second.name} [{unit}]")
    straight = np.ptp(x) > _STRAIGHT * np.ptp(y)
    axes.set_aspect("auto" if straight else "equal", adjustable="datalim")
    axes.set_title(f"{title} (stretched)" if straight else title, loc="left", fontsize=11)
    axes.margins(0.08)
    axes.grid(color="#dddddd", lw=0.6)


def _draw_states(axes: Axes, x: np.ndarray, y: np.ndarray, stamps: np.ndarray, record: RunRecord) -> None:
    """Mark poses where the camera stood still, and bridge gaps in which tracking was lost."""
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


def _draw_timeline(
    axes: Axes, record: RunRecord, estimate: Trajectory, reference: Trajectory | None, unit: str
) -> None:
    """Position error (or distance from the start) over time above the tracker's states."""
    start = float(record.image_stamps[0])
    if reference is not None:
        values, label = position_errors(estimate, reference), f"position error [{unit}]"
    else:
        steps = estimate.positions - estimate.positions[0]
        values, label = np.linalg.norm(steps, axis=1), f"distance from start [{unit}]"
    axes.plot(estimate.stamps - start, values, "-o", color=_ESTIMATE, lw=1.2, ms=2.5)
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
    """Begin and end, in seconds, of each time the tracker spent in a state."""
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


def _keyframe_stamps(record: RunRecord) -> list[float]:
    return [stamp for edge in record.edges for stamp in (edge.previous_stamp, edge.current_stamp)]
