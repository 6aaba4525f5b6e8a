"""vo_ekf.launch.py gives vo_node and the filter frames, topics and a scale that fit together."""

from __future__ import annotations

from pathlib import Path

import pytest
from launch_standins import ROOT, run_launch_file

from iup_pose_ros.node.settings import PARAMETERS


@pytest.fixture
def launch_file(monkeypatch):
    return run_launch_file("vo_ekf.launch.py", monkeypatch)


@pytest.fixture
def start(launch_file):
    """Function that gives vo_node's arguments and the filter which these arguments start."""
    declared = [action for action in launch_file.generate_launch_description() if action.args]
    defaults = {action.args[0]: action.default_value for action in declared}

    def start_with(**arguments):
        included, ekf_node = launch_file.start_nodes({**defaults, **arguments})
        return dict(included.launch_arguments), ekf_node

    return start_with


def test_every_argument_has_a_description_and_vo_launch_is_included(launch_file):
    declared = [action for action in launch_file.generate_launch_description() if action.args]
    names = [action.args[0] for action in declared]
    assert names[: len(launch_file.ARGUMENTS)] == list(launch_file.ARGUMENTS)
    assert {"estimator", "image", "rectified_fov"} < set(names)
    assert "publish_tf" not in names
    assert len(names) == len(set(names))
    assert all(action.description for action in declared)
    assert launch_file.VO_LAUNCH_FILE.samefile(ROOT / "launch" / "vo.launch.py")


@pytest.mark.parametrize("metric", ["true", "false", "True"])
def test_only_the_filter_owns_the_transform(start, metric):
    vo_arguments, ekf_node = start(metric=metric)
    assert vo_arguments["publish_tf"] == "false"
    assert "publish_tf" not in ekf_node.parameters[1]
    assert (ekf_node.package, ekf_node.executable) == ("robot_localization", "ekf_node")


@pytest.mark.parametrize(
    ("metric", "file", "source"),
    [("true", "ekf_metric.yaml", "odometry"), ("false", "ekf_rotation_only.yaml", "relative")],
)
def test_metric_chooses_the_configuration_and_the_scale(start, metric, file, source):
    vo_arguments, ekf_node = start(metric=metric)
    assert Path(ekf_node.parameters[0]).samefile(ROOT / "config" / file)
    assert vo_arguments["scale_source"] == source


def test_own_parameters_of_the_filter_replace_the_shipped_ones(start):
    _, ekf_node = start(ekf_params_file="/etc/robot/ekf.yaml")
    assert ekf_node.parameters[0] == "/etc/robot/ekf.yaml"


def test_filter_and_node_share_frames_namespace_clock_and_wheels(start):
    vo_arguments, ekf_node = start(
        base_frame="base_footprint",
        odom_frame="odom_vo",
        namespace="robot",
        use_sim_time="true",
        wheel_odometry="/wheels/odom",
    )
    assert ekf_node.parameters[1] == {
        "odom_frame": vo_arguments["odom_frame"],
        "world_frame": "odom_vo",
        "base_link_frame": vo_arguments["base_frame"],
        "use_sim_time": True,
    }
    assert ekf_node.namespace == vo_arguments["namespace"] == "robot"
    assert (vo_arguments["base_frame"], vo_arguments["use_sim_time"]) == ("base_footprint", "true")
    assert dict(ekf_node.remappings)["wheel_odometry"] == vo_arguments["wheel_odometry"] == "/wheels/odom"


def test_an_arbitrary_unit_is_never_fused_as_metres(start):
    with pytest.raises(
        ValueError, match="scale_source is 'relative'; with metric:=true it can be odometry, depth, "
    ):
        start(metric="true", scale_source="relative")


def test_metres_may_be_measured_and_not_fused(start):
    assert start(metric="false", scale_source="fixed")[0]["scale_source"] == "fixed"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"metric": "maybe"}, "metric is 'maybe'; true or false"),
        ({"use_sim_time": ""}, "use_sim_time is ''; true or false"),
        ({"scale_source": "lidar"}, "scale_source is 'lidar'; with metric:=false it can be relative, "),
    ],
)
def test_wrong_arguments_are_named_with_what_is_accepted(start, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        start(**arguments)


def test_scale_sources_are_those_of_the_node(launch_file):
    assert set(launch_file.IS_METRIC) == set(PARAMETERS["scale_source"].choices)


def test_vo_launch_has_the_arguments_that_it_is_given(start, monkeypatch):
    vo_launch_file = run_launch_file("vo.launch.py", monkeypatch)
    known = {*vo_launch_file.ARGUMENTS, *vo_launch_file.PARAMETER_ARGUMENTS}
    assert set(start()[0]) <= known
