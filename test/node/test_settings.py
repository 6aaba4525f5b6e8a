"""Values of parameters are accepted, or refused in words that name the parameter."""

from __future__ import annotations

import pytest

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.node.settings import PARAMETERS, NodeConfig
from iup_pose_ros.odometry import OdometryConfig


def test_defaults_of_the_parameters_are_the_defaults_of_the_settings():
    defaults = {name: parameter.default for name, parameter in PARAMETERS.items()}
    assert NodeConfig.from_parameters(defaults) == NodeConfig(odometry=OdometryConfig()) == NodeConfig()


def test_settings_of_the_odometry_are_parameters_too():
    config = NodeConfig.from_parameters({"base_frame": "chassis", "scale_source": "fixed"})
    assert (config.base_frame, config.odometry.scale_source) == ("chassis", "fixed")


def test_how_the_network_is_run_follows_from_the_parameters():
    config = NodeConfig.from_parameters({"ask_network": "when_needed", "device": "cpu", "image_area": 8192})
    assert config.network == NetworkOptions(device="cpu", image_area=8192, ask_network="when_needed")
    assert NodeConfig().network == NetworkOptions()


def test_every_parameter_is_described_and_every_number_has_a_range():
    for parameter in PARAMETERS.values():
        assert len(parameter.description) > 10
        parameter.check(parameter.default)
        is_number = type(parameter.default) in (int, float)
        assert (parameter.minimum is not None) == (parameter.maximum is not None) == is_number


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("publish_ft", True, "did you mean 'publish_tf'"),
        ("publish_tf", "yes", "publish_tf is 'yes'; type bool is required"),
        ("sync_slop", 1, "sync_slop is 1; type float is required"),
        ("sync_slop", float("nan"), "sync_slop is nan; 0.0 to 1.0"),
        ("sync_slop", 2.0, "sync_slop is 2.0; 0.0 to 1.0"),
        ("estimator", "orb", "estimator is 'orb'; accepted are '"),
        ("ask_network", "never", "ask_network is 'never'; accepted are 'auto', 'always', 'when_needed'"),
        ("scale_source", "gps", "scale_source is 'gps'"),
        ("base_frame", "", "base_frame is ''"),
        ("odom_frame", "/odom", "odom_frame is '/odom'"),
        ("odom_frame", "base_link", "they must differ"),
    ],
)
def test_value_that_is_not_accepted_is_named(name, value, words):
    with pytest.raises(ConfigurationError, match=words):
        NodeConfig.from_parameters({name: value})
