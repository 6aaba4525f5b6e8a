from __future__ import annotations

import dataclasses
import json

import pytest

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.model.config import PRESETS, IUPPoseConfig, preset


def test_configuration_survives_json() -> None:
    config = PRESETS["base"]
    assert IUPPoseConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_key_is_refused_with_the_nearest_name() -> None:
    values = {**PRESETS["small"].to_dict(), "alignment_layer": 3}
    with pytest.raises(ConfigurationError, match=r"'alignment_layer'.*did you mean 'alignment_layers'"):
        IUPPoseConfig.from_dict(values)


def test_missing_key_is_refused_by_name() -> None:
    values = PRESETS["small"].to_dict()
    del values["heads"]
    with pytest.raises(ConfigurationError, match="heads"):
        IUPPoseConfig.from_dict(values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "resnet43"}, "did you mean 'resnet34'"),
        ({"initial_pose": "zero"}, "accepted: identity, solve"),
        ({"heads": 5}, "width 96 is not a multiple of heads = 5"),
        ({"head_width": 60}, "head_width 60 is not a multiple of 8"),
        ({"alignment_layers": 0}, "positive"),
        ({"initial_pose": "identity"}, "decoders: false requires initial_pose: solve"),
        ({"prior_sigma_rotation": -1.0}, "positive"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        IUPPoseConfig.from_dict({**PRESETS["small"].to_dict(), **changes})


def test_configuration_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["small"].width = 64  # type: ignore[misc]


def test_unknown_preset_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'small'"):
        preset("smal")
