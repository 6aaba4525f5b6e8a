"""The benchmark: all parts under all conditions, one after the other in one process."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from iup_pose_ros.benchmark.flight_views import flight_views
from iup_pose_ros.benchmark.stages import (
    Repeats,
    default_estimators,
    estimators,
    network_stages,
    odometry_steps,
)
from iup_pose_ros.benchmark.timing import Conditions, Measurement
from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.estimators.registry import estimator_names
from iup_pose_ros.info import describe_devices, describe_versions
from iup_pose_ros.odometry import OdometryConfig

PARTS = ("network", "estimators", "odometry", "node")
_MAX_SIDE = 8192
_MOST_IMAGES = 300  # of the demo flight at full speed


@dataclass(frozen=True)
class BenchmarkOptions:
    """What is measured, under which conditions and how often.

    Attributes:
        parts: some of ``PARTS``.
        estimators: names of estimators; empty: all of the node, and installed ones for comparison.
        sizes: widths and heights of the images.
        precisions: floating-point types of the network.
        threads: numbers of threads of torch and OpenCV. The node chooses its own.
        batches: numbers of images or pairs per call of the network's stages.
        tracks: maximum numbers of tracks of the odometry.
        repeats: numbers of calls, and of images of odometry and node.
        network: weights and device.

    Raises:
        ConfigurationError: a value is out of range.
    """

    parts: Sequence[str] = PARTS
    estimators: Sequence[str] = ()
    sizes: Sequence[tuple[int, int]] = ((640, 480), (1920, 1080))
    precisions: Sequence[str] = ("auto",)
    threads: Sequence[int] = (1,)
    batches: Sequence[int] = (1,)
    tracks: Sequence[int] = (OdometryConfig().maximum_tracks,)
    repeats: Repeats = field(default_factory=lambda: Repeats(30, 3))
    network: NetworkOptions = field(default_factory=NetworkOptions)

    def __post_init__(self) -> None:
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown:
            raise ConfigurationError(f"unknown part {unknown[0]!r}; accepted: {', '.join(PARTS)}")
        for name in ("threads", "batches"):
            if min(getattr(self, name)) < 1:
                raise ConfigurationError(f"{name} is {min(getattr(self, name))}; at least 1 is required")
        for count in self.tracks:
            OdometryConfig(maximum_tracks=count)  # refuses what the odometry would refuse
        if any(not 64 <= side <= _MAX_SIDE for size in self.sizes for side in size):
            raise ConfigurationError(f"image sides must be 64 to {_MAX_SIDE} pixels; given: {self.sizes}")
        if self.repeats.images > _MOST_IMAGES:
            raise ConfigurationError(
                f"{self.repeats.measured} repeats and {self.repeats.warm_up} for warm-up need "
                f"{self.repeats.images} images; the demo flight has {_MOST_IMAGES}"
            )


def run_benchmark(options: BenchmarkOptions) -> Iterator[Measurement]:
    """Measure everything that the options name; yield the rows as they are measured.

    Raises:
        ConfigurationError: an estimator or device does not exist.
        NodeProcessError: the node does not start, or exits unexpectedly.
    """
    names = options.estimators or default_estimators()
    for size in options.sizes:
        views = flight_views(*size, options.repeats.images)
        for precision in options.precisions:
            network = replace(options.network, precision=precision)
            for threads in options.threads:
                conditions = Conditions(*size, network.device, precision, threads)
                if "network" in options.parts:
                    for batch in options.batches:
                        batched = replace(conditions, batch=batch)
                        yield from network_stages(views, batched, network, options.repeats)
                if "estimators" in options.parts:
                    yield from estimators(names, views, conditions, network, options.repeats)
                if "odometry" in options.parts:
                    for tracks in options.tracks:
                        yield from odometry_steps(names, views, conditions, network, options.repeats, tracks)
        if "node" in options.parts:
            # Only the node requires ROS.
            from iup_pose_ros.benchmark.node_latency import node_runs

            of_node = [name for name in names if name in estimator_names()]
            yield from node_runs(of_node, views, options.network, options.repeats)


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, load, devices and versions."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "devices": describe_devices(),
        "versions": describe_versions(),
    }
