"""Memory of the accelerator that runs out: the node says why and goes on with less, or stays usable."""

from __future__ import annotations

from pathlib import Path

import pytest
from node_bench import Drive

STARVING_NODE = (str(Path(__file__).with_name("starving_vo_node.py")),)


@pytest.fixture(scope="module")
def starving(start_module_node):
    parameters = {"autostart": False, "assume_identity_mount": True, "device": "cuda:9"}
    return start_module_node(command=STARVING_NODE, parameters=parameters)


def test_too_little_memory_at_the_start_is_a_failed_transition(bench, starving):
    bench.bring_to("unconfigured")
    assert bench.set_parameters(device="cuda:9")[0].successful
    bench.clear()
    assert not bench.change_state("configure")
    state = bench.wait_for_reason("cannot configure")
    assert "is out of memory on device cuda:9" in state.reason
    assert "correct it (ros2 param set /vo_node NAME VALUE)" in state.reason
    assert bench.life_cycle() == "unconfigured"


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("lower_resolution", "with 76800 pixels; continuing with 38400 pixels on cuda:0"),
        ("cpu", "with 76800 pixels; continuing with 76800 pixels on cpu"),
    ],
)
def test_memory_that_runs_out_while_active_is_lost_once_and_work_goes_on(bench, starving, policy, words):
    bench.bring_to("unconfigured")
    results = bench.set_parameters(device="cuda:0", on_out_of_memory=policy)
    assert all(result.successful for result in results)
    bench.start_afresh()
    states = Drive(bench).show(24)
    lost = [state for state in states if state.state == state.LOST]
    assert [words in state.reason for state in lost] == [True]
    assert states[-1].state == states[-1].TRACKING
    published = [message.header.stamp for message in bench.received("/vo_node/odometry")]
    assert lost[0].header.stamp not in published
    assert max(stamp.sec * 10**9 + stamp.nanosec for stamp in published) > (
        lost[0].header.stamp.sec * 10**9 + lost[0].header.stamp.nanosec
    )
