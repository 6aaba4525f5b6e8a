"""Services, parameters and the life cycle in any order, against a stream of images, leave a node that works.

`make fuzz` sets FUZZ=1: ten orders of a minute each.
"""

from __future__ import annotations

import os
import random
import threading
import time

import pytest
from iup_pose_msgs.msg import TrackingState
from iup_pose_msgs.srv import SaveTrajectory
from node_bench import LIFE_CYCLE, Drive, wait_until
from std_srvs.srv import SetBool, Trigger

SEEDS, SECONDS = (10, 60.0) if os.environ.get("FUZZ") else (1, 10.0)
RATE = 20.0


class Stream:
    """Sends images in a thread of its own until it is told to end."""

    def __init__(self, bench):
        self._ended = threading.Event()
        self._drive = Drive(bench)
        self._drive.stamp = time.time_ns()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        self._thread.join()

    def _send(self):
        while not self._ended.wait(1.0 / RATE):
            image, info = self._drive.messages()
            self._drive.bench.infos.publish(info)
            self._drive.bench.images.publish(image)


@pytest.fixture(scope="module")
def node(start_module_node, tmp_path_factory):
    return start_module_node(
        parameters={
            "assume_identity_mount": True,
            "input_timeout": 0.5,
            "output_directory": str(tmp_path_factory.mktemp("output")),
        }
    )


def orders(bench, rng):
    """Something that can be asked of the node, chosen at random."""
    return rng.choice(
        [
            lambda: bench.call(Trigger, "reset", Trigger.Request()),
            lambda: bench.call(SetBool, "pause", SetBool.Request(data=rng.random() < 0.5)),
            lambda: bench.call(SaveTrajectory, "save_trajectory", SaveTrajectory.Request()),
            lambda: bench.set_parameters(
                keyframe_parallax=rng.uniform(0.01, 0.1),
                publish_tf=rng.random() < 0.5,
                input_timeout=rng.uniform(0.2, 1.0),
                path_length=rng.randrange(2, 50),
            ),
            lambda: bench.bring_to(rng.choice(LIFE_CYCLE)),
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_any_order_of_requests_leaves_a_node_that_works(bench, node, seed):
    rng = random.Random(seed)
    bench.bring_to("active")
    with Stream(bench):
        end = time.monotonic() + SECONDS
        count = 0
        while time.monotonic() < end:
            orders(bench, rng)()
            count += 1
            time.sleep(rng.choice([0.0, 0.05, 0.3]))
        bench.bring_to("active")
        assert bench.call(SetBool, "pause", SetBool.Request(data=False)).success
        bench.set_parameters(keyframe_parallax=0.02, publish_tf=True)
        threads = node.threads()
        bench.bring_to("unconfigured")
        bench.bring_to("active")
        bench.clear()
        wait_until(
            lambda: any(state.state == TrackingState.TRACKING for state in bench.states()),
            30.0,
            lambda: f"{bench.states()[-3:]}",
        )
    assert node.threads() == threads
    assert "unexpected" not in node.log
    assert count > 5
