"""HTML report on one recording, as a single self-contained file."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation.reports.console import comparison_rows
from iup_pose_ros.evaluation.reports.svg_plots import drift_svg, paths_svg, states_svg
from iup_pose_ros.evaluation.runs.edge_table import EdgeRow
from iup_pose_ros.evaluation.runs.evaluated_run import EvaluatedRun
from iup_pose_ros.evaluation.runs.run_record import RunRecord
from iup_pose_ros.odometry import TrackingState

_IMAGE_WIDTH = 480
_JPEG_QUALITY = 80
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222 }
body { max-width: 1150px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em } h2 { font-size: 1.2em; margin-top: 2em; border-bottom: 1px solid #ccc }
table { border-collapse: collapse }
td, th { padding: .2em .9em .2em 0; text-align: left; vertical-align: top }
table.figures td + td, table.figures th + th { text-align: right; font-variant-numeric: tabular-nums }
tr:nth-child(even) td { background: #f6f6f6 } img { max-width: 100% } figure { margin: 1em 0 }
figure.pair img { width: 49% } figcaption, .note { color: #555; font-size: .93em }
"""
_EXPLANATION = """
ATE: RMSE of the positions after alignment (Sim(3): with scale, SE(3): without). RPE: error of the motion
between two keyframes (edge); per frame: divided by the number of image intervals; per distance: over segments
of that length. Direction errors range from 0 to 180 degrees. t_rel and r_rel: KITTI's segment errors over 100
to 800 m. NEES: squared error normalised by the reported covariance; values above the ideal indicate
over-confidence. Coverage: errors within 1, 2 and 3 sigma, ideally 68, 95 and 99.7 %. "Integrated" refers to
the pose since the start, aligned to ground truth at the first pose only and scaled to the same RMS distance
from the start; the other values refer to motions between keyframes. A monocular camera does not observe
scale: unless the run is metric, units are arbitrary before alignment.
"""


@dataclass(frozen=True, eq=False)
class PairImages:
    """Undistorted images of a keyframe edge, each uint8 (H, W, 3) RGB or (H, W) grey."""

    edge: EdgeRow
    previous: NDArray[np.uint8]
    current: NDArray[np.uint8]


def write_html(
    path: Path,
    title: str,
    notes: Sequence[str],
    runs: Mapping[str, EvaluatedRun],
    worst_pairs: Mapping[str, Sequence[PairImages]],
) -> None:
    """Write the report.

    Args:
        path: HTML file.
        title: title of the report.
        notes: remarks on the evaluation, one sentence each.
        runs: runs on the same recording, by estimator.
        worst_pairs: keyframe edges with the largest errors in descending order, by estimator.

    Raises:
        DataError: the file cannot be written.
    """
    metrics = comparison_rows({name: run.reproducible_values for name, run in runs.items()})
    lost = [[name, *row] for name, run in runs.items() for row in lost_periods(run.record)]
    pairs = [
        f"<h3>{html.escape(name)}</h3>" + "\n".join(_pair(pair) for pair in pairs)
        for name, pairs in worst_pairs.items()
        if pairs
    ]
    sections = [
        f"<h1>{html.escape(title)}</h1>",
        *(f"<p class='note'>{html.escape(note)}</p>" for note in notes),
        _table(["", *runs], [[label, *values] for label, values in metrics], "figures"),
        _section("Trajectory", _plot(paths_svg(runs), "trajectories in top view and side view")),
        _section("Error over time", *_drift_plots(runs)),
        _section(
            "Tracking state",
            _plot(states_svg(runs), "tracking states over time"),
            _table(["lost", "from", "to", "images", "reason"], lost, "losses") if lost else "",
        ),
        _section("Keyframe pairs with the largest errors", *pairs),
        _section("Definitions", f"<p class='note'>{_EXPLANATION}</p>"),
    ]
    body = "\n".join(section for section in sections if section)
    head = f"<meta charset='utf-8'><title>{html.escape(title)}</title><style>{_STYLE}</style>"
    document = f"<!DOCTYPE html>\n<html lang='en'><head>{head}</head>\n<body>\n{body}\n</body></html>\n"
    try:
        path.write_text(document, encoding="utf-8")
    except OSError as failure:
        raise DataError(f"cannot write {path}: {failure.strerror}") from failure


def _section(title: str, *parts: str) -> str:
    content = "\n".join(part for part in parts if part)
    return f"<h2>{title}</h2>\n{content}" if content else ""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], kind: str) -> str:
    def line(cells: Iterable[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    lines = [line(head, "th"), *(line(row, "td") for row in rows)]
    return f"<table class='{kind}'>\n" + "\n".join(lines) + "\n</table>"


def _plot(svg: str, description: str) -> str:
    return f"<figure>{_image(svg.encode(), 'svg+xml', description)}</figure>" if svg else ""


def _image(data: bytes, kind: str, description: str) -> str:
    content = base64.b64encode(data).decode("ascii")
    return f"<img alt='{html.escape(description)}' src='data:image/{kind};base64,{content}'>"


def _drift_plots(runs: Mapping[str, EvaluatedRun]) -> list[str]:
    parts = []
    for name, run in runs.items():
        if run.accuracy is not None and len(run.accuracy.drift.stamps):
            start = float(run.record.image_stamps[0])
            plot = _plot(drift_svg(run.accuracy.drift, start), f"error of {name} over time")
            parts.append(f"<h3>{html.escape(name)}</h3>{plot}")
    return parts


def lost_periods(record: RunRecord) -> list[list[str]]:
    """Return start, end, number of images and first reason of each period in which tracking was lost."""
    start = float(record.image_stamps[0])
    spans: list[list[str]] = []
    length = 0
    for frame in record.frames:
        if frame.state != TrackingState.LOST:
            length = 0
            continue
        time = f"{frame.stamp - start:.2f} s"
        length += 1
        if length == 1:
            spans.append([time, time, "1", frame.reason])
        else:
            spans[-1][1:3] = [time, str(length)]
    return spans


def _pair(pair: PairImages) -> str:
    edge, images = pair.edge, []
    for pixels, stamp in ((pair.previous, edge.previous_stamp), (pair.current, edge.current_stamp)):
        height, width = pixels.shape[:2]
        if width > _IMAGE_WIDTH:
            size = (_IMAGE_WIDTH, max(round(height * _IMAGE_WIDTH / width), 1))
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        ordered = pixels if pixels.ndim == 2 else pixels[:, :, ::-1]
        _, data = cv2.imencode(".jpg", ordered, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        images.append(_image(bytes(data), "jpeg", f"keyframe at {stamp:.3f} s"))
    rotation = _error("rotation", edge.rotation_error_deg, edge.rotation_sigma_deg)
    direction = _error("direction", edge.direction_error_deg, edge.direction_sigma_deg)
    interval = "1 image" if edge.frames == 1 else f"{edge.frames} images"
    stamps = f"{edge.previous_stamp:.3f} s to {edge.current_stamp:.3f} s"
    joined = "\n".join(images)
    caption = html.escape(f"{stamps}, {interval} apart: {rotation}; {direction}")
    return f"<figure class='pair'>{joined}<figcaption>{caption}</figcaption></figure>"


def _error(part: str, error: float, sigma: float) -> str:
    spread = "sigma unknown" if math.isnan(sigma) else f"sigma {sigma:.3f} deg"
    return f"{part} {spread}" if math.isnan(error) else f"{part} error {error:.3f} deg ({spread})"
