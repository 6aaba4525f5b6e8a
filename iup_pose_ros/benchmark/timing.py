"""Measurement of the run time of a function: warm-up, repeats, percentiles, CPU time and memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch

from iup_pose_ros.evaluation.json_document import json_value

PERCENTILES = (50, 90, 99)
_MEGABYTE = 1024.0 * 1024.0


@dataclass(frozen=True)
class Conditions:
    """What a run time was measured with.

    Attributes:
        width, height: size of the images in pixels.
        device: torch device of the network; the rest runs on the CPU.
        precision: floating-point type of the network.
        threads: number of threads of torch and of OpenCV.
        batch: number of images or pairs per call.
    """

    width: int
    height: int
    device: str = "cpu"
    precision: str = "float32"
    threads: int = 1
    batch: int = 1


@dataclass(frozen=True)
class Samples:
    """Run times of repeated calls.

    Attributes:
        milliseconds: of every call: wall clock, or CUDA events on a CUDA device.
        cpu_milliseconds: CPU time of all threads of the process, of every call or, of the node, its mean.
        megabytes: CUDA: maximum memory of tensors during the calls; CPU: maximum resident memory of the
            process until their end; of the node after its start; NaN if unknown.
    """

    milliseconds: Sequence[float]
    cpu_milliseconds: Sequence[float]
    megabytes: float


@dataclass(frozen=True)
class Measurement:
    """One row of the benchmark.

    Attributes:
        part: ``network``, ``estimators``, ``odometry`` or ``node``.
        name: what was called.
        timed: what the time includes.
        conditions: size, device, precision, threads and batch.
        samples: run times.
    """

    part: str
    name: str
    timed: str
    conditions: Conditions
    samples: Samples

    @property
    def percentiles(self) -> dict[str, float]:
        """Percentiles of the run time in milliseconds: ``p50``, ``p90``, ``p99``."""
        values = np.percentile(self.samples.milliseconds, PERCENTILES).tolist()
        return {f"p{percent}": value for percent, value in zip(PERCENTILES, values, strict=True)}

    def to_json(self) -> dict[str, Any]:
        """Return the row as a flat dictionary, with times in milliseconds."""
        values = {
            "part": self.part,
            "name": self.name,
            "timed": self.timed,
            **asdict(self.conditions),
            "repeats": len(self.samples.milliseconds),
            **self.percentiles,
            "cpu_p50": float(np.median(self.samples.cpu_milliseconds)),
            "memory_mb": self.samples.megabytes,
        }
        return dict(json_value(values))


def measure(call: Callable[[int], object], repeats: int, warm_up: int, device: str = "cpu") -> Samples:
    """Call a function repeatedly and measure it.

    Args:
        call: is given the number of the call, from 0; the first ``warm_up`` calls are not measured.
        repeats: number of measured calls.
        warm_up: number of calls before them.
        device: torch device that the function uses; on CUDA, events on the current stream are measured.
    """
    for number in range(warm_up):
        call(number)
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    milliseconds: list[float] = []
    cpu_milliseconds: list[float] = []
    for number in range(warm_up, warm_up + repeats):
        cpu_begin = time.process_time()
        if on_gpu:
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            call(number)
            end.record()
            end.synchronize()
            milliseconds.append(float(begin.elapsed_time(end)))
        else:
            wall_begin = time.perf_counter()
            call(number)
            milliseconds.append(1e3 * (time.perf_counter() - wall_begin))
        cpu_milliseconds.append(1e3 * (time.process_time() - cpu_begin))
    if on_gpu:
        memory = torch.cuda.max_memory_allocated(device) / _MEGABYTE
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0  # given in kilobytes
    return Samples(milliseconds, cpu_milliseconds, memory)


def set_threads(threads: int) -> None:
    """Set the number of threads that an operation of torch or OpenCV uses in this process."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
