"""Weights and parameters that are wrong: the node says why and stays usable."""

from __future__ import annotations

import subprocess
import sys

import pytest
from node_bench import Drive
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter

from iup_pose_ros.weights import SHIPPED_WEIGHTS

MANUAL = {"autostart": False, "assume_identity_mount": True}
RIGHT = {
    "estimator": "epipolar_klt",
    "weights": "",
    "device": "auto",
    "publish_tf": True,
    "keyframe_parallax": 0.02,
    "keyframe_interval": 0.5,
}


@pytest.fixture(scope="module")
def node(start_module_node):
    return start_module_node(parameters=MANUAL)


@pytest.fixture
def unconfigured(bench, node):
    """The bench with the node not configured, and with right parameters afterwards."""
    bench.bring_to("unconfigured")
    bench.clear()
    yield bench
    bench.bring_to("unconfigured")
    set_all(bench, **RIGHT)


def set_all(bench, **parameters):
    results = bench.set_parameters(**parameters)
    assert all(result.successful for result in results), results


def configure_fails(bench, words):
    bench.clear()
    assert not bench.change_state("configure")
    state = bench.wait_for_reason("cannot configure")
    assert words in state.reason
    assert "correct it (ros2 param set /vo_node NAME VALUE)" in state.reason
    assert bench.life_cycle() == "unconfigured"


def test_broken_checkpoint_is_a_failed_transition(unconfigured, tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a safetensors file")
    set_all(unconfigured, estimator="iup_pose", weights=str(broken))
    configure_fails(unconfigured, "not a valid sa")


def test_missing_checkpoint_is_a_failed_transition_and_the_node_works_once_it_is_corrected(unconfigured):
    set_all(unconfigured, estimator="iup_pose", weights="/nowhere/net.safetensors")
    configure_fails(unconfigured, "no weights file /nowhere/net.safetensors")
    set_all(unconfigured, **RIGHT)
    unconfigured.start_afresh()
    assert Drive(unconfigured).show(8)[-1].state == 1


@pytest.mark.skipif(not SHIPPED_WEIGHTS.is_file(), reason="the network's weights are not installed")
def test_device_that_does_not_exist_is_a_failed_transition(unconfigured):
    set_all(unconfigured, estimator="iup_pose", device="cuda:7")
    configure_fails(unconfigured, "device 'cuda:7' does not exist")


def test_parameters_that_can_change_while_active_do(unconfigured):
    bench = unconfigured
    bench.start_afresh()
    drive = Drive(bench)
    drive.show(8)
    assert bench.node.count_publishers("/tf") == 1
    bench.clear()
    set_all(bench, publish_tf=False, keyframe_parallax=0.5, keyframe_interval=60.0)
    states = drive.show(8)
    assert states[-1].keyframes - states[0].keyframes <= 1
    assert bench.received("/tf") == []
    assert bench.node.count_publishers("/tf") == 0
    set_all(bench, publish_tf=True, keyframe_parallax=0.02)
    assert drive.show(12)[-1].keyframes > states[-1].keyframes
    bench.wait_for("/tf", lambda message: True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"device": "cpu"}, "device can only change while the node is unconfigured"),
        ({"scale_source": "fixed"}, "scale_source can only change while the node is unconfigured"),
        ({"keyframe_parallax": 3.0}, "keyframe_parallax"),
        ({"maximum_tracks": 60, "minimum_tracks": 100}, "minimum_tracks is 100, more than maximum_tracks"),
    ],
)
def test_parameter_that_cannot_change_says_why(bench, node, change, words):
    bench.bring_to("active")
    parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in change.items()]
    request = SetParametersAtomically.Request(parameters=parameters)
    result = bench.call(SetParametersAtomically, "set_parameters_atomically", request).result
    assert not result.successful
    assert words in result.reason


@pytest.mark.parametrize(("argument", "code", "words"), [("--help", 0, "ros-args"), ("--fast", 2, "--fast")])
def test_arguments_that_are_not_for_ros_do_not_start_the_node(argument, code, words):
    command = [sys.executable, "-m", "iup_pose_ros.node.vo_node", "--ros-args", "-r", "a:=b", "--", argument]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60.0)
    assert ended.returncode == code
    assert words in ended.stdout + ended.stderr
