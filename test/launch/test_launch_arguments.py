"""Launch arguments, config/vo.yaml and the node's declarations name the same parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from launch_standins import ROOT, run_launch_file

from iup_pose_ros.node.params_file import params_file
from iup_pose_ros.node.settings import PARAMETERS

LAUNCH_FILE = ROOT / "launch" / "vo.launch.py"


@pytest.fixture
def launch_file(monkeypatch):
    return run_launch_file("vo.launch.py", monkeypatch)


@pytest.fixture
def start(launch_file):
    """Function that gives the node which the launch file starts with these arguments."""
    declared = [action for action in launch_file.generate_launch_description() if action.args]
    defaults = {action.args[0]: action.default_value for action in declared}

    def start_with(**arguments):
        *_, node = launch_file.start_node({**defaults, **arguments})
        return node

    return start_with


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"log_level": "loud"}, "log_level is 'loud'; accepted: debug, info, warn, error, fatal"),
        ({"params_file": "/nowhere/vo.yaml"}, "params_file is '/nowhere/vo.yaml', which does not exist"),
    ],
)
def test_arguments_that_ros_would_answer_with_a_traceback_are_named(start, arguments, words):
    with pytest.raises(ValueError, match=words):
        start(**arguments)


def test_large_images_are_let_through_unless_the_user_has_a_profile(launch_file, monkeypatch):
    monkeypatch.delenv("FASTDDS_DEFAULT_PROFILES_FILE", raising=False)
    (action,) = launch_file.large_images()
    assert action.args[0] == "FASTDDS_DEFAULT_PROFILES_FILE"
    assert "segment_size" in Path(action.args[1]).read_text()
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "/own.xml")
    assert launch_file.large_images() == []


def test_params_file_is_the_one_made_from_the_declarations():
    assert (ROOT / "config" / "vo.yaml").read_text() == params_file(), (
        "make it anew with: python -m iup_pose_ros.node.params_file > config/vo.yaml"
    )


def test_params_file_lists_every_parameter_with_its_default():
    entries = yaml.safe_load(params_file())["/**"]["ros__parameters"]
    assert entries == {name: parameter.default for name, parameter in PARAMETERS.items()}
    for name, value in entries.items():
        PARAMETERS[name].check(value)


def test_every_parameter_is_an_argument_with_its_type_and_description(launch_file):
    arguments = launch_file.PARAMETER_ARGUMENTS
    assert set(arguments) == {*PARAMETERS, "use_sim_time"}
    for name, parameter in PARAMETERS.items():
        kind, description = arguments[name]
        assert kind == type(parameter.default).__name__, name
        assert description.startswith(parameter.description), name


def test_every_argument_is_declared_with_a_description(launch_file):
    declared = {action.args[0]: action for action in launch_file.generate_launch_description() if action.args}
    assert set(declared) == {*launch_file.ARGUMENTS, *launch_file.PARAMETER_ARGUMENTS}
    assert all(action.description for action in declared.values())


def test_without_arguments_only_the_params_file_sets_parameters(start):
    params_file, given = start().parameters
    assert Path(params_file) == ROOT / "config" / "vo.yaml"
    assert given == {}


def test_arguments_become_values_of_the_parameters_type(start):
    node = start(fixed_step_length="2", sync_slop="0.05", publish_tf="False", base_frame="1", path_length="7")
    assert node.parameters[1] == {
        "fixed_step_length": 2.0,
        "sync_slop": 0.05,
        "publish_tf": False,
        "base_frame": "1",
        "path_length": 7,
    }
    assert isinstance(node.parameters[1]["fixed_step_length"], float)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("publish_tf", "2"),
        ("sync_slop", "true"),
        ("sync_slop", "fast"),
        ("path_length", "2.5"),
        ("path_length", "true"),
    ],
)
def test_argument_of_a_wrong_type_is_named(start, name, text):
    with pytest.raises(ValueError, match=f"{name} is '{text}'"):
        start(**{name: text})


def test_topics_are_remapped(start):
    node = start(image="/usb/image_raw", camera_info="/usb/camera_info", mask="/people", namespace="robot")
    assert dict(node.remappings) == {
        "image": "/usb/image_raw",
        "camera_info": "/usb/camera_info",
        "mask": "/people",
        "wheel_odometry": "wheel_odometry",
        "imu": "imu",
        "depth": "depth",
        "range": "range",
    }
    assert (node.namespace, node.executable) == ("robot", "vo_node")
