"""An estimator that runs out of memory is made anew with less, as the settings say, and says so."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch

from iup_pose_ros.errors import ConfigurationError, EstimationError
from iup_pose_ros.estimators.base import EstimatorInfo
from iup_pose_ros.estimators.hybrid import HybridEstimator
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.estimators.oom_fallback import OutOfMemoryFallback
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.types import Frame

FRAME = Frame(np.zeros((240, 320, 3), np.uint8), Intrinsics(300.0, 300.0, 159.5, 119.5, 320, 240), 0.0, "eye")


class Hungry:
    """Needs memory for every pixel on every device but the CPU; its poses are its options."""

    name = "hungry"

    def __init__(self, options, room):
        self.options, self.room, self.device = options, room, options.device
        self.info = EstimatorInfo("hungry", options.device, options.precision, options.image_area)

    def estimate(self, previous, current, matches=None):
        if self.device != "cpu" and self.options.image_area > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.options


def resilient(policy, room, precision="float32"):
    options = NetworkOptions(device="cuda", image_area=80_000, precision=precision)
    return OutOfMemoryFallback("hungry", options, policy, lambda name, options: Hungry(options, room))


def test_next_call_after_the_failure_has_half_of_the_pixels():
    estimator = resilient("lower_resolution", room=50_000)
    with pytest.raises(
        EstimationError, match="out of memory on cuda with 80000 pixels; continuing with 40000 pixels on cuda"
    ):
        estimator.estimate(FRAME, FRAME)
    assert estimator.estimate(FRAME, FRAME).image_area == 40_000


def test_resolution_goes_down_to_a_floor_and_then_the_node_says_that_nothing_is_left():
    estimator = resilient("lower_resolution", room=0)
    areas = []
    for _ in range(6):
        with pytest.raises(EstimationError) as caught:
            estimator.estimate(FRAME, FRAME)
        areas.append(str(caught.value))
    assert "5000 pixels on cuda" in areas[3]
    assert "offers no smaller configuration" in areas[-1]


def test_on_the_cpu_the_resolution_stays():
    estimator = resilient("cpu", room=0, precision="float16")
    with pytest.raises(EstimationError, match="continuing with 80000 pixels on cpu"):
        estimator.estimate(FRAME, FRAME)
    options = estimator.estimate(FRAME, FRAME)
    assert (options.device, options.image_area, options.precision) == ("cpu", 80_000, "auto")


def test_the_description_survives_an_estimator_that_the_worker_removes_meanwhile(monkeypatch):
    estimator = resilient("cpu", room=80_000)
    found = iter([Hungry(NetworkOptions(device="cuda"), room=80_000), None])
    monkeypatch.setattr(OutOfMemoryFallback, "_inner", property(lambda self: next(found)), raising=False)
    assert estimator.info.device == "cuda"


def test_other_errors_pass_through():
    class Broken:
        name, info = "broken", EstimatorInfo("broken")

        def estimate(self, previous, current, matches=None):
            raise RuntimeError("kernel failed")

    estimator = OutOfMemoryFallback("broken", NetworkOptions(), "cpu", lambda *_: Broken())
    with pytest.raises(RuntimeError, match="kernel failed"):
        estimator.estimate(FRAME, FRAME)


def test_too_little_memory_at_the_start_is_a_configuration_error():
    def create(name, options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ConfigurationError, match="is out of memory on device auto"):
        OutOfMemoryFallback("iup_pose", NetworkOptions(), "cpu", create)


def test_network_is_freed_when_it_is_closed_and_when_it_gives_way():
    made = []

    def create(name, options):
        hungry = Hungry(options, room=50_000)
        made.append(weakref.ref(hungry))
        return hungry

    options = NetworkOptions(device="cuda", image_area=80_000)
    estimator = OutOfMemoryFallback("hungry", options, "lower_resolution", create)
    with pytest.raises(EstimationError):
        estimator.estimate(FRAME, FRAME)
    assert [network() is None for network in made] == [True, False]
    estimator.close()
    assert [network() is None for network in made] == [True, True]


class CountingNetwork:
    """Counts the pairs that it is asked about, and finds no matches."""

    info = EstimatorInfo("network", "cuda", "float32", 80_000, "weights.safetensors", "0f1e")

    def __init__(self):
        self.pairs = 0

    def match(self, previous, current):
        self.pairs += 1
        raise EstimationError("no matches")


def test_the_network_itself_is_used_once_however_seldom_its_estimator_asks_it():
    network = CountingNetwork()
    options = NetworkOptions(device="cuda", image_area=80_000)
    estimator = OutOfMemoryFallback("hybrid", options, "cpu", lambda *_: HybridEstimator(network))
    assert network.pairs == 1
    assert str(estimator.info) == (
        "hybrid on cuda in float32, 80000 pixels, weights weights.safetensors (sha256 0f1e)"
    )


def test_estimator_without_weights_is_not_used_before_its_first_pair():
    asked = []

    class Plain:
        name, info = "plain", EstimatorInfo("plain")

        def estimate(self, previous, current, matches=None):
            asked.append(current)

    estimator = OutOfMemoryFallback("plain", NetworkOptions(), "cpu", lambda *_: Plain())
    assert asked == []
    estimator.estimate(FRAME, FRAME)
    assert asked == [FRAME]
