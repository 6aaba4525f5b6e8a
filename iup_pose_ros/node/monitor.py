"""Figures of the running node; without ROS."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# So many estimates make the percentiles.
_ESTIMATES = 200


@dataclass(frozen=True)
class Figures:
    """The node's figures; ``nan`` where there is none yet.

    Attributes:
        image_rate: images received per second since the last look.
        odometry_rate: odometry messages per second since the last look.
        frame_age: seconds from the last image's stamp to its result.
        silence: seconds since the last image came.
        inference_p50: median time of the estimator, seconds.
        inference_p99: 99th percentile, seconds.
    """

    image_rate: float
    odometry_rate: float
    frame_age: float
    silence: float
    inference_p50: float
    inference_p99: float


class Monitor:
    """Collects figures; several threads may tell it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inference: deque[float] = deque(maxlen=_ESTIMATES)
        self._frame_age = float("nan")
        self._last_image = float("nan")
        self._images = self._odometry = 0
        self._looked = time.monotonic()

    def image_came(self) -> None:
        """An image was received."""
        with self._lock:
            self._images += 1
            self._last_image = time.monotonic()

    def image_done(self, age: float) -> None:
        """An image's result is out, ``age`` seconds after its stamp."""
        with self._lock:
            self._frame_age = age

    def estimated(self, seconds: float) -> None:
        """The estimator took so long."""
        with self._lock:
            self._inference.append(seconds)

    def odometry_sent(self) -> None:
        """An odometry message was published."""
        with self._lock:
            self._odometry += 1

    def look(self) -> Figures:
        """The figures now; rates are since the last look."""
        with self._lock:
            now = time.monotonic()
            elapsed = max(now - self._looked, 1e-3)
            p50, p99 = (
                np.percentile(self._inference, (50, 99)) if self._inference else (float("nan"), float("nan"))
            )
            figures = Figures(
                self._images / elapsed,
                self._odometry / elapsed,
                self._frame_age,
                now - self._last_image,
                float(p50),
                float(p99),
            )
            self._images = self._odometry = 0
            self._looked = now
            return figures


def resident_megabytes() -> float:
    """Memory of this process; ``nan`` where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024.0
    except (OSError, IndexError, ValueError):
        return float("nan")
