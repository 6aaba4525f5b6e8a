"""Progress bar of a training run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SMOOTHING = 0.95


class RunProgress:
    """Progress bar with pairs per second and smoothed errors; shows nothing without a console."""

    def __init__(self, console: Console | None, step: int, steps: int) -> None:
        columns = (
            BarColumn(20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        self._progress = Progress(
            *columns, console=console, disable=console is None, speed_estimate_period=300.0
        )
        self._task = self._progress.add_task("", completed=step, total=steps)
        self._smooth: dict[str, float] = {}
        self._last = time.monotonic()

    def __enter__(self) -> RunProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self, row: Mapping[str, Any]) -> None:
        """Advance by one step and show the values of its log row."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        new = {name: row[name] for name in ("loss", "rotation_deg", "direction_deg", "pairs")}
        for name, value in {**new, "seconds": seconds}.items():
            if value == value:  # NaN: no direction without motion, no pose when only matches are trained
                before = self._smooth.get(name, value)
                self._smooth[name] = _SMOOTHING * before + (1.0 - _SMOOTHING) * value
        smooth = self._smooth
        rate = smooth["pairs"] / max(smooth["seconds"], 1e-9)
        text = f"{rate:.0f} pairs/s, loss {smooth['loss']:.2f}"
        for name, digits in (("rotation", 1), ("direction", 0)):
            if f"{name}_deg" in smooth:
                text += f", {name} {smooth[f'{name}_deg']:.{digits}f} deg"
        self._progress.update(self._task, advance=1, description=text)

    def print(self, row: Mapping[str, Any]) -> None:
        """Print a row of the evaluation table above the bar."""
        if not self._progress.disable:
            self._progress.console.print(
                f"step {row['step']} {row['split']} {row['set']}: "
                f"rotation {row['rotation_deg']:.2f} deg, direction {row['direction_deg']:.2f} deg, "
                f"AUC@5/10/20 {row['auc_5']:.1f}/{row['auc_10']:.1f}/{row['auc_20']:.1f}"
            )
        self._last = time.monotonic()
