"""Counters, rates and latencies of the running node; without ROS."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Number of latest estimates from which the percentiles are computed.
_ESTIMATES = 200
# Seconds for which an unexpected error stays in the diagnostics.
_FAULT_MEMORY = 10.0


@dataclass(frozen=True)
class FrameCounts:
    """Images since activation; each received one is processed, dropped in one of two ways, or waiting."""

    received: int = 0
    processed: int = 0
    dropped_busy: int = 0
    dropped_invalid: int = 0


@dataclass(frozen=True)
class Figures:
    """The node's statistics; ``nan`` if not available yet.

    Attributes:
        counts: images since activation by outcome.
        image_rate: images received per second since the last snapshot.
        odometry_rate: odometry messages per second since the last snapshot.
        frame_age: seconds from the stamp of the last image to its result.
        silence: seconds since the last image was received.
        inference_p50: median time of the estimator, seconds.
        inference_p99: 99th percentile, seconds.
        masked_share: share of the last image that is masked.
        faults: unexpected errors since the node was started.
        fault: the last one, if it was in the last ten seconds; empty otherwise.
    """

    counts: FrameCounts
    image_rate: float
    odometry_rate: float
    frame_age: float
    silence: float
    inference_p50: float
    inference_p99: float
    masked_share: float = float("nan")
    faults: int = 0
    fault: str = ""


class Monitor:
    """Image counters and statistics; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = FrameCounts()
        self._inference: deque[float] = deque(maxlen=_ESTIMATES)
        self._frame_age = float("nan")
        self._masked_share = float("nan")
        self._last_image = float("nan")
        self._images = self._odometry = 0
        self._faults, self._fault, self._fault_at = 0, "", float("-inf")
        self._last_snapshot = time.monotonic()

    def on_image(self) -> None:
        """Count a received image."""
        with self._lock:
            self._images += 1
            self._last_image = time.monotonic()
        self.count(received=1)

    def on_estimate(self, seconds: float) -> None:
        """Record the inference time of the estimator."""
        with self._lock:
            self._inference.append(seconds)

    def on_odometry(self) -> None:
        """Count a published odometry message."""
        with self._lock:
            self._odometry += 1

    def on_result(self, age: float) -> None:
        """Record the age in seconds of an image's stamp when its result is published."""
        with self._lock:
            self._frame_age = age

    def on_mask(self, share: float) -> None:
        """Record the share of the last image that is masked."""
        with self._lock:
            self._masked_share = share

    def on_fault(self, text: str) -> None:
        """Count an unexpected error, described by ``text``."""
        with self._lock:
            self._faults += 1
            self._fault, self._fault_at = text, time.monotonic()

    def count(
        self, received: int = 0, processed: int = 0, dropped_busy: int = 0, dropped_invalid: int = 0
    ) -> None:
        """Increase the counts by the given numbers, all at once."""
        with self._lock:
            counts = self._counts
            self._counts = FrameCounts(
                received=counts.received + received,
                processed=counts.processed + processed,
                dropped_busy=counts.dropped_busy + dropped_busy,
                dropped_invalid=counts.dropped_invalid + dropped_invalid,
            )

    def reset_counts(self) -> None:
        """Count images from zero again."""
        with self._lock:
            self._counts = FrameCounts()

    @property
    def counts(self) -> FrameCounts:
        """The current counts, consistent with each other."""
        with self._lock:
            return self._counts

    def snapshot(self) -> Figures:
        """Return the current statistics; rates are since the last snapshot."""
        with self._lock:
            now = time.monotonic()
            elapsed = max(now - self._last_snapshot, 1e-3)
            p50, p99 = (
                np.percentile(self._inference, (50, 99)) if self._inference else (float("nan"), float("nan"))
            )
            figures = Figures(
                self._counts,
                self._images / elapsed,
                self._odometry / elapsed,
                self._frame_age,
                now - self._last_image,
                float(p50),
                float(p99),
                self._masked_share,
                self._faults,
                self._fault if now - self._fault_at < _FAULT_MEMORY else "",
            )
            self._images = self._odometry = 0
            self._last_snapshot = now
            return figures


def resident_megabytes() -> float:
    """Return the resident memory of this process; ``nan`` if the system does not report it."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024.0
    except (OSError, IndexError, ValueError):
        return float("nan")
