"""What `measure` calls, and what its percentiles are; no real times."""

import itertools
import time

import numpy as np
import pytest

from iup_pose_ros.benchmark.timing import Conditions, Measurement, Samples, measure


@pytest.fixture
def clock(monkeypatch):
    """Clocks that advance only when told: wall clock and CPU time."""
    now = {"perf_counter": 0.0, "process_time": 0.0}
    for name in now:
        monkeypatch.setattr(time, name, lambda name=name: now[name])
    return now


def test_warm_up_is_called_but_not_measured(clock):
    calls = []

    def call(number):
        calls.append(number)
        clock["perf_counter"] += 100.0 if number < 2 else 0.001 * number

    samples = measure(call, repeats=3, warm_up=2)
    assert calls == [0, 1, 2, 3, 4]
    assert samples.milliseconds == pytest.approx([2.0, 3.0, 4.0])


def test_cpu_time_is_that_of_every_call(clock):
    def call(number):
        clock["process_time"] += 0.25
        clock["perf_counter"] += 1.0

    samples = measure(call, repeats=2, warm_up=1)
    assert samples.cpu_milliseconds == pytest.approx([250.0, 250.0])
    assert samples.milliseconds == pytest.approx([1000.0, 1000.0])
    assert samples.megabytes > 10.0


def test_json_row_holds_conditions_and_percentiles():
    samples = Samples(list(range(101)), [1.0, 2.0, 9.0], float("nan"))
    row = Measurement("network", "encode", "features", Conditions(64, 48, threads=2), samples).to_json()
    assert (row["p50"], row["p90"], row["p99"], row["cpu_p50"]) == (50.0, 90.0, 99.0, 2.0)
    assert (row["width"], row["height"], row["threads"], row["repeats"]) == (64, 48, 2, 101)
    assert row["memory_mb"] is None


def test_percentiles_are_ordered():
    samples = Samples(np.random.default_rng(0).exponential(size=40).tolist(), [0.0], 0.0)
    found = Measurement("node", "hybrid", "", Conditions(64, 48), samples).percentiles
    assert all(a <= b for a, b in itertools.pairwise(found.values()))
