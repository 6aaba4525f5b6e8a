"""A node as its own process and a bench that talks to it over DDS, isolated from every other ROS process."""

from __future__ import annotations

import pytest
from child_node import NodeProcess
from node_bench import Bench


@pytest.fixture(scope="module")
def bench(domain_id):
    """Publishers of camera and TF and subscriptions to everything the node publishes."""
    with Bench(domain_id) as running:
        yield running


@pytest.fixture
def start_node(domain_id, tmp_path):
    """Function that starts a node with parameters; the process is ended with the test."""
    started: list[NodeProcess] = []

    def start(**options):
        started.append(NodeProcess(domain_id, tmp_path / f"node_{len(started)}.log", **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture(scope="module")
def start_module_node(domain_id, tmp_path_factory):
    """Like start_node, but the process lives as long as the module's tests, and has to end as asked then."""
    started: list[NodeProcess] = []

    def start(**options):
        log = tmp_path_factory.mktemp("node") / f"node_{len(started)}.log"
        started.append(NodeProcess(domain_id, log, **options))
        return started[-1]

    yield start
    try:
        for process in started:
            if process.process.poll() is None:
                assert process.stop() == 0, process.log
            assert "Traceback" not in process.log, process.log
    finally:
        for process in started:
            process.kill()
