"""A fault in the node's own code is an ERROR in the diagnostics and counted; the node goes on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from child_node import wait_until
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from iup_pose_msgs.msg import TrackingState
from node_bench import Drive
from std_srvs.srv import Trigger

FAULTY_NODE = Path(__file__).with_name("faulty_vo_node.py")
IN_WORKER = ("estimator", "worker", "publishers", "tracking state")
IN_CALLBACKS = ("image callback", "camera_info callback", "transform callback", "timer", "diagnostics")


@pytest.fixture(scope="module")
def orders(tmp_path_factory):
    file = tmp_path_factory.mktemp("orders") / "place.txt"
    file.write_text("")
    return file


@pytest.fixture(scope="module")
def drive(bench, start_module_node, orders):
    """A camera before the faulty node, which tracks."""
    start_module_node(command=(str(FAULTY_NODE), str(orders)), parameters={"assume_identity_mount": True})
    bench.record("/diagnostics", DiagnosticArray)
    bench.wait_for("/diagnostics", lambda message: True)
    bench.wait_for_node()
    running = Drive(bench)
    running.show(8)
    return running


def diagnosed(bench, place):
    """Whether the diagnostics are an ERROR that names the fault."""
    return any(
        status.level == DiagnosticStatus.ERROR and f"fault in {place}" in status.message
        for message in bench.received("/diagnostics")
        for status in message.status
    )


def errors_counted(bench):
    values = bench.received("/diagnostics")[-1].status[0].values
    return int(next(item.value for item in values if item.key == "unexpected errors"))


def send(drive):
    """The next image, whatever the node answers."""
    image, info = drive.messages()
    drive.bench.infos.publish(info)
    drive.bench.images.publish(image)
    time.sleep(0.05)


@pytest.mark.parametrize("place", IN_WORKER + IN_CALLBACKS)
def test_a_fault_is_an_error_in_the_diagnostics_and_the_node_goes_on(bench, drive, orders, place):
    before = errors_counted(bench)
    orders.write_text(f"raise in {place}")

    def counted():
        send(drive)
        return diagnosed(bench, place) and errors_counted(bench) == before + 1

    wait_until(counted, 30.0, lambda: f"{bench.received('/diagnostics')[-1]}")

    def tracks():
        state = drive.show(1)[0]
        return state.state == TrackingState.TRACKING and not state.reason

    wait_until(tracks, 30.0, lambda: f"{bench.states()[-1]}")


def test_a_fault_in_a_service_is_its_answer(bench, drive, orders):
    orders.write_text("raise in service")
    answer = bench.call(Trigger, "reset", Trigger.Request())
    assert (answer.success, answer.message) == (False, "unexpected RuntimeError: fault in service")
    wait_until(lambda: diagnosed(bench, "service"), 30.0, lambda: "not diagnosed")
    assert bench.call(Trigger, "reset", Trigger.Request()).success


def test_a_fault_in_a_change_of_parameters_is_its_answer(bench, drive, orders):
    orders.write_text("raise in parameters")
    (result,) = bench.set_parameters(input_timeout=3.0)
    assert (result.successful, result.reason) == (False, "unexpected RuntimeError: fault in parameters")
    wait_until(lambda: diagnosed(bench, "parameters"), 30.0, lambda: "not diagnosed")
    (result,) = bench.set_parameters(input_timeout=3.0)
    assert result.successful
