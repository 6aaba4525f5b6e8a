"""Fifty times up and down the life cycle leave nothing behind: no memory, thread, subscription, publisher."""

from __future__ import annotations

import pytest
from child_node import wait_until
from node_bench import Drive
from scipy.stats import theilslopes

CYCLES = 50
WARM_UP = 10


@pytest.fixture(scope="module")
def node(start_module_node):
    return start_module_node(
        parameters={"autostart": False, "assume_identity_mount": True, "scale_source": "fixed"}
    )


def endpoints(bench):
    """Number of subscriptions and publishers of the node."""
    node = bench.node
    subscriptions = node.get_subscriber_names_and_types_by_node("vo_node", "/")
    publishers = node.get_publisher_names_and_types_by_node("vo_node", "/")
    return sum(
        info.node_name == "vo_node"
        for topics, ask in (
            (subscriptions, node.get_subscriptions_info_by_topic),
            (publishers, node.get_publishers_info_by_topic),
        )
        for topic, _ in topics
        for info in ask(topic)
    )


def test_node_goes_up_and_down_without_leaving_anything_behind(bench, node):
    bench.wait_for_reason("not configured")
    memory, threads = [], []
    before = -1
    for cycle in range(CYCLES):
        assert bench.change_state("configure", "activate"), node.log
        if cycle % WARM_UP == 0:
            bench.wait_for_node()
            assert Drive(bench).show(4)[-1].frames_processed == 4
        assert bench.change_state("deactivate", "cleanup"), node.log
        memory.append(node.resident_megabytes())
        threads.append(node.threads())
        if cycle == 0:
            before = endpoints(bench)
    print(f"memory {memory[0]:.0f}, {memory[WARM_UP]:.0f}, {memory[-1]:.0f} MB; threads {threads[-1]}")
    wait_until(lambda: endpoints(bench) == before, 10.0, lambda: f"{endpoints(bench)}, not {before}")
    assert len(set(threads[WARM_UP:])) == 1
    # A leak of one image per cycle would be 0.2 MB.
    # Median slope: the allocator takes and returns memory in single jumps, a leak grows all the time.
    growth = theilslopes(memory[WARM_UP:]).slope
    assert growth < 0.1, f"{growth:.3f} MB per cycle: {memory}"
    bench.clear()
    bench.bring_to("active")
    bench.wait_for_node()
    assert Drive(bench).show(8)[-1].state == 1
