"""Memory that runs out, weights and parameters that are wrong: the node says why and stays usable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from node_bench import Drive
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter

from iup_pose_ros.weights import SHIPPED_WEIGHTS

STARVING_NODE = (str(Path(__file__).with_name("starving_vo_node.py")),)
MANUAL = {"autostart": False, "assume_identity_mount": True}


@pytest.fixture(scope="module")
def starving(start_module_node):
    return start_module_node(command=STARVING_NODE, parameters={**MANUAL, "device": "cuda:9"})


def configure_fails(bench, words):
    bench.clear()
    assert not bench.change_state("configure")
    state = bench.wait_for_reason("cannot configure")
    assert words in state.reason
    assert "correct it (ros2 param set /vo_node NAME VALUE)" in state.reason
    assert bench.life_cycle() == "unconfigured"


def test_too_little_memory_at_the_start_is_a_failed_transition(bench, starving):
    configure_fails(bench, "runs out of memory on device cuda:9")


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("lower_resolution", "with 76800 pixels; going on with 38400 pixels on cuda:0"),
        ("cpu", "with 76800 pixels; going on with 76800 pixels on cpu"),
    ],
)
def test_memory_that_runs_out_while_active_is_lost_once_and_work_goes_on(bench, starving, policy, words):
    results = bench.set_parameters(device="cuda:0", on_out_of_memory=policy)
    assert all(result.successful for result in results)
    bench.clear()
    assert bench.change_state("configure", "activate")
    bench.wait_for_node()
    states = Drive(bench).show(24)
    lost = [state for state in states if state.state == state.LOST]
    assert [words in state.reason for state in lost] == [True]
    assert states[-1].state == states[-1].TRACKING
    published = [message.header.stamp for message in bench.received("/vo_node/odometry")]
    assert lost[0].header.stamp not in published
    assert max(stamp.sec * 10**9 + stamp.nanosec for stamp in published) > (
        lost[0].header.stamp.sec * 10**9 + lost[0].header.stamp.nanosec
    )
    assert bench.change_state("deactivate", "cleanup")


def test_starving_node_ends_with_exit_code_0(bench, starving):
    assert starving.stop() == 0
    assert "Traceback" not in starving.log


@pytest.fixture(scope="module")
def broken_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "broken.safetensors"
    path.write_bytes(b"not a safetensors file")
    return path


@pytest.fixture(scope="module")
def node(start_module_node, starving, broken_weights):
    parameters = {**MANUAL, "estimator": "iup_poes", "weights": str(broken_weights)}
    return start_module_node(parameters=parameters)


def test_unknown_estimator_is_a_failed_transition_that_says_how_to_go_on(bench, node):
    configure_fails(bench, "estimator is 'iup_poes'; accepted are")


def test_broken_checkpoint_is_a_failed_transition(bench, node, broken_weights):
    assert bench.set_parameters(estimator="iup_pose")[0].successful
    configure_fails(bench, "not an undamaged safetensors file")


def test_missing_checkpoint_and_device_that_does_not_exist_are_failed_transitions(bench, node):
    assert bench.set_parameters(weights="/nowhere/net.safetensors")[0].successful
    configure_fails(bench, "no weights file /nowhere/net.safetensors")
    if not SHIPPED_WEIGHTS.is_file():
        print("device not tried: the package carries no weights")
        return
    assert all(result.successful for result in bench.set_parameters(weights="", device="cuda:7"))
    configure_fails(bench, "device 'cuda:7' does not exist")


def test_node_that_failed_works_once_its_parameters_are_right(bench, node):
    results = bench.set_parameters(estimator="epipolar_klt", weights="", device="auto")
    assert all(result.successful for result in results)
    assert bench.change_state("configure", "activate")
    bench.wait_for_node()
    assert Drive(bench).show(8)[-1].state == 1


def test_parameters_that_can_change_while_active_do(bench, node):
    assert bench.node.count_publishers("/tf") == 1
    bench.clear()
    assert bench.set_parameters(publish_tf=False, keyframe_parallax=0.5, keyframe_interval=60.0)[0].successful
    drive = Drive(bench)
    drive.stamp += 10**9
    drive.position = 0.64
    states = drive.show(8)
    assert states[-1].keyframes - states[0].keyframes <= 1
    assert bench.received("/tf") == []
    assert bench.node.count_publishers("/tf") == 0
    assert bench.set_parameters(publish_tf=True, keyframe_parallax=0.02)[0].successful
    assert drive.show(12)[-1].keyframes > states[-1].keyframes
    bench.wait_for("/tf", lambda message: True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"device": "cpu"}, "device can change only while the node is unconfigured"),
        ({"scale_source": "fixed"}, "scale_source can change only while the node is unconfigured"),
        ({"keyframe_parallax": 3.0}, "keyframe_parallax"),
        ({"maximum_tracks": 60, "minimum_tracks": 100}, "minimum_tracks is 100, more than maximum_tracks"),
    ],
)
def test_parameter_that_cannot_change_says_why(bench, node, change, words):
    parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in change.items()]
    request = SetParametersAtomically.Request(parameters=parameters)
    result = bench.call(SetParametersAtomically, "set_parameters_atomically", request).result
    assert not result.successful
    assert words in result.reason


def test_node_that_saw_all_this_ends_with_exit_code_0(bench, node):
    assert node.stop() == 0
    assert "Traceback" not in node.log


@pytest.mark.parametrize(("argument", "code", "words"), [("--help", 0, "ros-args"), ("--fast", 2, "--fast")])
def test_arguments_that_are_not_for_ros_do_not_start_the_node(argument, code, words):
    command = [sys.executable, "-m", "iup_pose_ros.node.vo_node", "--ros-args", "-r", "a:=b", "--", argument]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60.0)
    assert ended.returncode == code
    assert words in ended.stdout + ended.stderr
