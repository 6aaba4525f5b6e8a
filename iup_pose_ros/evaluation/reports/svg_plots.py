"""Plots of the HTML report as SVG text. The same runs give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from iup_pose_ros.evaluation.reports.trajectory_plot import STATE_COLOURS, ViewAxis, state_spans, view_axes
from iup_pose_ros.evaluation.runs.drift import Drift
from iup_pose_ros.evaluation.runs.evaluated_run import EvaluatedRun
from iup_pose_ros.geometry.trajectory import Trajectory
from iup_pose_ros.odometry import TrackingState

_COLOURS = ("#1f6fb4", "#d1495b", "#2a9d5c", "#8a5fbf", "#c77f1a")
_TRUTH = "#444444"
_ALL_STATES = {TrackingState.TRACKING: "#9ecae1", **STATE_COLOURS}
_CARRIED = "metric scale carried on"
_SCALES = {"metric scale measured": "#2a9d5c", _CARRIED: "#b5dfc3"}
# Fixes the otherwise random element ids.
_REPRODUCIBLE = {"svg.hashsalt": "iup_pose_ros", "path.simplify": True}


def paths_svg(runs: Mapping[str, EvaluatedRun]) -> str:
    """Plot the trajectories of all runs and the ground truth, if known, in top view and side view.

    Returns:
        SVG text; empty if no run has a pose.
    """
    moved = {name: run for name, run in runs.items() if len(run.path)}
    if not moved:
        return ""
    references = [
        run.accuracy.reference
        for run in moved.values()
        if run.accuracy is not None and run.accuracy.aligned is not None
    ]
    reference = max(references, key=len, default=None)
    along, across, up = view_axes(next(iter(moved.values())).path if reference is None else reference)
    figure = Figure(figsize=(11.0, 4.8), layout="constrained")
    above, side = figure.subplots(1, 2)
    unit = "trajectory units" if reference is None else "m"
    _draw_paths(above, (along, across), moved, reference, unit)
    _draw_paths(side, (along, up), moved, reference, unit)
    above.set_title("top view", loc="left")
    side.set_title("side view", loc="left")
    above.legend(fontsize=9)
    return _svg(figure)


def drift_svg(drift: Drift, start: float) -> str:
    """Plot the error of the integrated pose over time, per axis, with its 3-sigma bounds.

    Args:
        drift: errors of one run.
        start: stamp of the first image, seconds.

    Returns:
        SVG text.
    """
    figure = Figure(figsize=(11.0, 6.0), layout="constrained")
    grid = figure.subplots(3, 2, sharex=True)
    times = drift.stamps - start
    parts = (
        ("position", "m", drift.position, drift.position_sigma),
        ("rotation", "deg", np.degrees(drift.rotation), np.degrees(drift.rotation_sigma)),
    )
    for column, (part, unit, errors, sigmas) in enumerate(parts):
        for axis, name in enumerate("xyz"):
            axes = grid[axis, column]
            bound = 3.0 * sigmas[:, axis]
            axes.fill_between(times, -bound, bound, color=_COLOURS[0], alpha=0.18, lw=0.0)
            axes.plot(times, errors[:, axis], "-", color=_COLOURS[0], lw=1.2)
            axes.axhline(0.0, color=_TRUTH, lw=0.6)
            axes.grid(color="#dddddd", lw=0.6)
            axes.set_ylabel(f"{name} [{unit}]")
        grid[0, column].set_title(f"{part} error and 3-sigma bounds", loc="left")
        grid[2, column].set_xlabel("time [s]")
    return _svg(figure)


def states_svg(runs: Mapping[str, EvaluatedRun]) -> str:
    """Plot tracking state and, below it, state of the metric scale of each run over time; return SVG text."""
    figure = Figure(figsize=(11.0, 0.9 + 0.45 * len(runs)), layout="constrained")
    axes = figure.subplots()
    start = min(float(run.record.image_stamps[0]) for run in runs.values())
    end = max(float(run.record.image_stamps[-1]) for run in runs.values())
    for row, run in enumerate(runs.values()):
        for state, colour in _ALL_STATES.items():
            spans = [(begin - start, stop - begin) for begin, stop in state_spans(run.record, state)]
            axes.broken_barh(spans, (row - 0.35, 0.7), color=colour, lw=0.0)
        for label, colour in _SCALES.items():
            spans = [
                (edge.previous_stamp - start, edge.current_stamp - edge.previous_stamp)
                for edge in run.record.edges
                if edge.metric and edge.has_carried_scale == (label == _CARRIED)
            ]
            axes.broken_barh(spans, (row + 0.35, 0.15), color=colour, lw=0.0)
    axes.set_yticks(range(len(runs)), list(runs))
    axes.invert_yaxis()
    axes.set_xlim(0.0, max(end - start, 1e-3))
    axes.set_xlabel("time [s]")
    patches = [Patch(color=colour, label=state.name.lower()) for state, colour in _ALL_STATES.items()]
    if any(edge.metric for run in runs.values() for edge in run.record.edges):
        patches += [Patch(color=colour, label=label) for label, colour in _SCALES.items()]
    figure.legend(handles=patches, loc="outside upper left", ncols=len(patches), fontsize=9, frameon=False)
    return _svg(figure)


def _draw_paths(
    axes: Axes,
    drawn: tuple[ViewAxis, ViewAxis],
    runs: Mapping[str, EvaluatedRun],
    reference: Trajectory | None,
    unit: str,
) -> None:
    first, second = drawn
    if reference is not None:
        truth = (first.values(reference), second.values(reference))
        axes.plot(*truth, "--", color=_TRUTH, lw=2.0, label="ground truth")
    for index, (name, run) in enumerate(runs.items()):
        x, y = first.values(run.path), second.values(run.path)
        colour = _COLOURS[index % len(_COLOURS)]
        axes.plot(x, y, "-", color=colour, lw=1.3, label=name)
        axes.plot(x[:1], y[:1], "D", color=colour, ms=5.0)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(f"{first.name} [{unit}]")
    axes.set_ylabel(f"{second.name} [{unit}]")
    axes.grid(color="#dddddd", lw=0.6)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    with matplotlib.rc_context(_REPRODUCIBLE):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
