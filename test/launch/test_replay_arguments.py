"""replay.launch.py starts, in the right order, processes whose topics and files fit together."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from launch_standins import run_launch_file

from iup_pose_ros.bags.messages import CameraCalibration
from iup_pose_ros.bags.writer import CameraExtrinsics, CameraNames, write_camera_bag
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose

NAMES = CameraNames("/eye/image", "/eye/camera_info", "eye")


@pytest.fixture
def launch_files(monkeypatch):
    """Function that gives the names in a launch file."""
    return lambda name: run_launch_file(name, monkeypatch)


def make_bag(path, extrinsics=None):
    calibration = CameraCalibration(Intrinsics(50.0, 50.0, 31.5, 23.5, 64, 48))
    with write_camera_bag(path, calibration, NAMES, extrinsics) as bag:
        bag.write_image(1, np.zeros((48, 64, 3), np.uint8))
    return path


@pytest.fixture(autouse=True)
def ros2(tmp_path, monkeypatch):
    """A `ros2 run iup_pose_ros iup-pose` that runs this package."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "ros2"
    script.write_text(f'#!/bin/sh\nshift 3\nexec "{sys.executable}" -m iup_pose_ros.cli "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.fixture
def start(launch_files, tmp_path):
    """Function that gives what replay.launch.py starts with these arguments."""
    launch_file = launch_files("replay.launch.py")
    declared = [action for action in launch_file.generate_launch_description() if action.args]
    defaults = {action.args[0]: getattr(action, "default_value", None) for action in declared}

    def start_with(**arguments):
        given = {"output": str(tmp_path / "out"), **arguments}
        return launch_file.start({**defaults, **given})

    return start_with


def ended(process, code=0):
    return SimpleNamespace(returncode=code, process_name=process.cmd[0])


def test_processes_follow_one_another(start, tmp_path):
    actions = start(bag=str(make_bag(tmp_path / "bag")))
    vo_node, recorder, waiting, *handlers = actions
    following = {id(handler.target_action): handler.on_exit for handler in handlers}
    (player,) = following[id(waiting)](ended(waiting), None)
    assert player.cmd[:3] == ["ros2", "bag", "play"]
    (timer,) = following[id(player)](ended(player), None)
    (interruption,) = timer.actions
    assert interruption.event.process_matcher is recorder
    (evaluation,) = following[id(recorder)](ended(recorder, -2), None)
    assert evaluation.cmd[:6] == ["ros2", "run", "iup_pose_ros", "iup-pose", "evaluate", "bag"]
    (end,) = following[id(evaluation)](ended(evaluation), None)
    assert end.event.reason == "the report is written"
    (failed,) = following[id(waiting)](ended(waiting, 1), None)
    assert "exit code 1" in failed.event.reason
    assert vo_node.args[0].name == "vo.launch.py"


def test_topics_come_from_the_recording(start, tmp_path):
    vo_node, recorder, waiting, *_ = start(bag=str(make_bag(tmp_path / "bag")))
    arguments = dict(vo_node.launch_arguments)
    assert (arguments["image"], arguments["camera_info"]) == ("/eye/image", "/eye/camera_info")
    assert arguments["image_transport"] == "raw"
    assert arguments["assume_identity_mount"] == "true"
    topics = "/vo_node/odometry|/vo_node/keyframe_edge|/vo_node/tracking_state|/eye/camera_info"
    assert recorder.cmd[-1] == f"^({topics})$"
    assert waiting.cmd[-1] == "/eye/image"


def test_mount_of_the_recording_is_used(start, tmp_path):
    bag = make_bag(tmp_path / "bag", CameraExtrinsics(Pose.identity(), "robot"))
    assert (
        dict(start(bag=str(bag), base_frame="robot")[0].launch_arguments)["assume_identity_mount"] == "false"
    )


def test_evaluation_gets_what_is_given_and_nothing_empty(start, tmp_path):
    actions = start(bag=str(make_bag(tmp_path / "bag")), gt="truth.tum")
    recorder = actions[1]
    (handler,) = (action for action in actions[3:] if action.target_action is recorder)
    (evaluation,) = handler.on_exit(ended(recorder), None)
    options = evaluation.cmd[7:]
    assert dict(zip(options[::2], options[1::2], strict=True)) == {
        "--recorded": str(tmp_path / "out" / "outputs"),
        "--report": str(tmp_path / "out" / "report"),
        "--image-topic": "/eye/image",
        "--info-topic": "/eye/camera_info",
        "--gt": "truth.tum",
    }
    assert recorder.cmd[recorder.cmd.index("-o") + 1] == str(tmp_path / "out" / "outputs")


def test_options_are_those_of_the_command(start, tmp_path):
    from typer.testing import CliRunner

    from iup_pose_ros.cli import app

    bag = make_bag(tmp_path / "bag")
    actions = start(bag=str(bag), gt="t", gt_topic="/t", gt_frame="f")
    (handler,) = (action for action in actions[3:] if action.target_action is actions[1])
    (evaluation,) = handler.on_exit(ended(actions[1]), None)
    result = CliRunner().invoke(app, evaluation.cmd[4:])
    assert "--gt and --gt-topic are two sources" in result.stderr


def test_arguments_of_vo_launch_that_follow_from_the_recording_exist(start, launch_files, tmp_path):
    vo_launch = launch_files("vo.launch.py")
    arguments = dict(start(bag=str(make_bag(tmp_path / "bag")))[0].launch_arguments)
    assert arguments.keys() <= {*vo_launch.ARGUMENTS, *vo_launch.PARAMETER_ARGUMENTS}


def test_output_of_an_earlier_replay_is_not_overwritten(start, tmp_path):
    (tmp_path / "out" / "outputs").mkdir(parents=True)
    with pytest.raises(ValueError, match="holds a recording already"):
        start(bag=str(make_bag(tmp_path / "bag")))


def test_recordings_of_no_use_end_with_the_reason(start, tmp_path):
    with pytest.raises(ValueError, match="nowhere does not exist"):
        start(bag=str(tmp_path / "nowhere"))


def test_arguments_of_vo_launch_are_listed_too(launch_files):
    declared = [
        action for action in launch_files("replay.launch.py").generate_launch_description() if action.args
    ]
    names = [action.args[0] for action in declared]
    assert {"bag", "estimator", "mono16_range", "params_file"} < set(names)
    assert not {"image_transport", "namespace"} & set(names)
    assert len(names) == len(set(names))
