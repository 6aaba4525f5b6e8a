"""SIGINT and SIGTERM end the node with exit code 0 and without a traceback, whatever it is doing."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from child_node import NODE, wait_until
from iup_pose_msgs.srv import SaveTrajectory
from moving_texture import view
from node_bench import Drive, camera_info, image_message
from std_srvs.srv import SetBool, Trigger

FAULTY_NODE = Path(__file__).with_name("faulty_vo_node.py")


@pytest.fixture
def start_both(start_node):
    """Function that starts two equal nodes, one for each signal; both together save half of the time."""

    def start(command=NODE, **parameters):
        return [start_node(parameters=parameters, command=command) for _ in range(2)]

    return start


def check_stopped(processes, timeout=60.0):
    for process, number in zip(processes, (signal.SIGINT, signal.SIGTERM), strict=True):
        assert process.stop(number, timeout) == 0, (number, process.log)
        assert "Traceback" not in process.log, number


def catches_sigterm(process):
    """Whether the process has installed its handlers (a Python that starts has none for SIGTERM)."""
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    caught = int(status.split("SigCgt:")[1].split()[0], 16)
    return bool(caught & 1 << (signal.SIGTERM - 1))


def test_signal_while_it_starts(start_both):
    processes = start_both()
    for process in processes:
        wait_until(lambda process=process: catches_sigterm(process), 60.0, lambda: "no handlers installed")
    check_stopped(processes)


def test_signal_while_it_is_not_configured(start_both, bench):
    bench.clear()
    processes = start_both(autostart=False)
    wait_until(lambda: len(bench.states()) == 2, 60.0, lambda: f"{bench.states()}")
    assert {state.reason for state in bench.states()} == {"the node is not configured"}
    check_stopped(processes)


def test_signal_while_it_waits_for_images(start_both):
    processes = start_both()
    for process in processes:
        process.wait_for_log("configured with")
    check_stopped(processes)


def test_signal_while_it_waits_for_the_mount(start_both, bench):
    processes = start_both(mount_timeout=2.0)
    bench.wait_for_nodes(2)
    bench.infos.publish(camera_info(1))
    bench.images.publish(image_message(view(0.0), 1))
    check_stopped(processes)


def test_signal_while_images_arrive(start_both, bench):
    processes = start_both(assume_identity_mount=True)
    bench.wait_for_nodes(2)
    for index in range(10):
        stamp = 1_000_000_000 + index * 50_000_000
        image, info = image_message(view(0.08 * index), stamp), camera_info(stamp)
        if index < 5:
            bench.show(image, info)
        else:
            bench.infos.publish(info)
            bench.images.publish(image)
    check_stopped(processes)


@pytest.mark.parametrize("place", ["configure", "estimator", "service"])
def test_signal_while_it_is_busy_for_a_minute(start_both, bench, tmp_path, place):
    orders = tmp_path / "order.txt"
    orders.write_text(f"wait in {place}")
    processes = start_both((str(FAULTY_NODE), str(orders)), assume_identity_mount=True)
    client = bench.node.create_client(Trigger, "/vo_node/reset")
    drive = Drive(bench)

    def all_are_busy():
        if place == "estimator":
            image, info = drive.messages()
            bench.infos.publish(info)
            bench.images.publish(image)
        if place == "service":
            client.call_async(Trigger.Request())
        time.sleep(0.1)
        return all(orders.read_text() in process.log for process in processes)

    wait_until(all_are_busy, 60.0, lambda: processes[0].log)
    # What it is busy with takes longer.
    check_stopped(processes, timeout=30.0)


def test_value_out_of_range_is_one_sentence_and_exit_code_1(start_node):
    process = start_node(parameters={"keyframe_parallax": 7.0})
    assert process.process.wait(60.0) == 1
    assert "keyframe_parallax" in process.log
    assert "Traceback" not in process.log


def test_services_of_a_node_that_is_shut_down_answer_with_the_reason(start_node, bench):
    process = start_node(parameters={"autostart": False})
    bench.bring_to("inactive")
    assert bench.change_state("inactive_shutdown")
    for answer in (
        bench.call(Trigger, "reset", Trigger.Request()),
        bench.call(SetBool, "pause", SetBool.Request(data=True)),
        bench.call(SaveTrajectory, "save_trajectory", SaveTrajectory.Request()),
    ):
        assert (answer.success, answer.message) == (False, "the node is shut down")
    assert process.stop() == 0
    assert "Traceback" not in process.log


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"odom_frame": "base_link"}, "base_frame and odom_frame are both 'base_link'"),
        ({"estimator": "iup_poes"}, "parameter estimator is 'iup_poes'; accepted are"),
    ],
)
def test_node_that_cannot_be_configured_at_its_start_says_why_and_stays(start_node, bench, parameters, words):
    bench.clear()
    broken = start_node(parameters=parameters)
    state = bench.wait_for_reason(f"cannot configure: {words}")
    assert "correct it (ros2 param set /vo_node NAME VALUE)" in state.reason
    assert bench.life_cycle() == "unconfigured"
    assert broken.stop() == 0
