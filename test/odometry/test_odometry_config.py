from __future__ import annotations

from dataclasses import fields

import pytest

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.odometry import OdometryConfig


def test_unknown_setting_is_rejected_with_the_nearest_name():
    with pytest.raises(ConfigurationError, match=r"keyframe_paralax.*did you mean 'keyframe_parallax'"):
        OdometryConfig.from_dict({"keyframe_paralax": 0.1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("keyframe_parallax", 0.9),
        ("keyframe_parallax", float("nan")),
        ("keyframe_parallax", "much"),
        ("minimum_tracks", 30.5),
        ("minimum_tracks", True),
        ("scale_source", "guess"),
        ("fixed_step_length", -1.0),
    ],
)
def test_bad_value_is_rejected_by_name_with_what_is_accepted(name: str, value: object):
    with pytest.raises(ConfigurationError, match=rf"{name} is .*(is required|is accepted|accepted are)"):
        OdometryConfig.from_dict({name: value})


def test_settings_given_are_taken_and_the_rest_keep_their_defaults():
    config = OdometryConfig.from_dict({"keyframe_interval": 2, "scale_source": "fixed"})
    assert (config.keyframe_interval, config.scale_source) == (2, "fixed")
    assert config.maximum_tracks == OdometryConfig().maximum_tracks


def test_every_setting_has_a_description_and_a_range_or_choices():
    for setting in fields(OdometryConfig):
        assert setting.metadata["description"].endswith(".")
        assert "choices" in setting.metadata or setting.metadata["minimum"] < setting.metadata["maximum"]


def test_minimum_of_tracks_must_not_exceed_the_maximum():
    with pytest.raises(ConfigurationError, match=r"minimum_tracks .* maximum_tracks"):
        OdometryConfig(minimum_tracks=500, maximum_tracks=100)
