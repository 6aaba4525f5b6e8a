"""A node that runs for long does not grow, and its latency is printed from the start to the end.

`make soak HOURS=2 ESTIMATOR=hybrid` sets SOAK_HOURS and SOAK_ESTIMATOR.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from node_bench import Drive
from scipy.stats import theilslopes

SECONDS = 3600.0 * float(os.environ.get("SOAK_HOURS", "0.005"))
RATE = 20.0
SAMPLES = 60
# Nothing before this share of the time counts: caches fill, the allocator settles.
WARM_UP = 0.3


class Sample(NamedTuple):
    """The node at a moment."""

    seconds: float
    megabytes: float
    descriptors: int
    threads: int
    latency_ms: float
    received: int
    processed: int


@pytest.fixture(scope="module")
def samples(bench, start_module_node):
    """The node at even moments while it tracks a stream of images."""
    node = start_module_node(
        parameters={
            "assume_identity_mount": True,
            "estimator": os.environ.get("SOAK_ESTIMATOR", "epipolar_klt"),
        }
    )
    bench.record("/diagnostics", DiagnosticArray)
    bench.wait_for_node()
    drive = Drive(bench)
    drive.show(20)
    drive.position += 10.0  # a loss, in which hybrid loads its second network
    drive.show(20)
    bench.clear()
    bench.wait_for("/diagnostics", lambda message: True)
    taken: list[Sample] = []
    start = time.monotonic()
    sent = 0
    while (elapsed := time.monotonic() - start) < SECONDS:
        image, info = drive.messages()
        bench.infos.publish(info)
        bench.images.publish(image)
        sent += 1
        if elapsed > len(taken) * SECONDS / SAMPLES and bench.received("/diagnostics"):
            (status,) = bench.received("/diagnostics")[-1].status
            values = {item.key: item.value for item in status.values}
            sample = Sample(
                elapsed,
                node.resident_megabytes(),
                len(os.listdir(f"/proc/{node.process.pid}/fd")),
                node.threads(),
                float(values["inference p50 [ms]"]),
                int(values["frames received"]),
                int(values["frames processed"]),
            )
            taken.append(sample)
            bench.clear()  # the bench itself must not grow
        time.sleep(max(0.0, start + sent / RATE - time.monotonic()))
    print("\n  hours   memory [MB]   descriptors   threads   inference [ms]   received   processed")
    for sample in taken[:: SAMPLES // 12]:
        print(
            f"{sample.seconds / 3600:7.3f}{sample.megabytes:14.1f}{sample.descriptors:14d}"
            f"{sample.threads:10d}{sample.latency_ms:17.1f}{sample.received:11d}{sample.processed:12d}"
        )
    return taken[int(WARM_UP * len(taken)) :]


@pytest.mark.slow
def test_memory_stays_flat(samples):
    hours = [sample.seconds / 3600.0 for sample in samples]
    memory = [sample.megabytes for sample in samples]
    slope = float(theilslopes(memory, hours).slope)
    images = (samples[-1].received - samples[0].received) / (hours[-1] - hours[0])
    print(f"{slope:.2f} MB per hour of {images:.0f} images, from {memory[0]:.1f} to {memory[-1]:.1f} MB")
    # A leak of an image of 0.23 MB in a hundred would show; the trajectory takes 64 bytes an image, the path
    # 640 bytes a keyframe for the first 1000.
    # In a run of seconds the allocator alone varies by less than a megabyte.
    growth = memory[-1] - memory[0]
    assert slope < 0.0023 * images or growth < 1.0
    assert growth < 0.1 * memory[0]


@pytest.mark.slow
def test_descriptors_and_threads_stay_the_same(samples):
    assert len({sample.threads for sample in samples}) == 1
    assert len({sample.descriptors for sample in samples}) == 1


@pytest.mark.slow
def test_images_are_processed_until_the_end(samples):
    thirds = np.array_split(np.array(samples), 3)
    for name, third in zip(("start", "middle", "end"), thirds, strict=True):
        print(f"inference at the {name}: {np.median(third[:, 4]):.1f} ms")
        assert third[-1, 6] > third[0, 6]
