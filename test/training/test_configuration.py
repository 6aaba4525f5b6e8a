from __future__ import annotations

from pathlib import Path

import pytest

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.model.aliked_encoder import AlikedEncoder
from iup_pose_ros.training.configuration import from_mapping
from iup_pose_ros.training.run_config import TrainConfig
from iup_pose_ros.training.synthetic.camera_motion import REGIMES
from iup_pose_ros.training.synthetic.rendered_stream import SourceConfig


def test_nothing_given_is_the_default():
    assert from_mapping(SourceConfig, {}) == SourceConfig()


def test_nested_settings_reach_their_place():
    config = from_mapping(
        SourceConfig,
        {
            "scenes": "some/where",
            "sizes": [[320, 256], [256, 320]],
            "procedural": 1,
            "photometric": None,
            "views": {"views": 6, "cameras": {"mixed": 0.5}, "regimes": {"wide": {"share": 0.9}}},
        },
    )
    assert config.scenes == Path("some/where")
    assert config.sizes == ((320, 256), (256, 320))
    assert config.procedural == 1.0
    assert config.photometric is None
    assert config.views.cameras.mixed == 0.5
    assert config.views.regimes["wide"].share == 0.9
    assert config.views.regimes["wide"].rotation == REGIMES["wide"].rotation
    assert set(config.views.regimes) == set(REGIMES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": 1}, "unknown setting seeds; did you mean 'seed'"),
        ({"views": {"camera": {}}}, r"unknown setting views\.camera; did you mean 'views\.cameras'"),
        (
            {"views": {"regimes": {"wide": {"shared": 1}}}},
            r"views\.regimes\.wide\.shared; .* 'views\.regimes\.wide\.share",
        ),
        ({"seed": 0.5}, "setting seed is 0.5; a value of type int"),
        ({"procedural": True}, "setting procedural is True; a value of type float"),
        ({"sizes": [[1, 2, 3]]}, r"setting sizes is \[1, 2, 3\]; 2 values"),
        ({"sizes": 64}, "setting sizes is 64; a list"),
        ({"views": 8}, "setting views is 8; a mapping"),
    ],
)
def test_mistakes_are_named(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        from_mapping(SourceConfig, settings)


def test_photographs_cannot_train_a_network_without_descriptors_at_all_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"output": str(tmp_path), "training_data": "none", "photographs": {"folder": str(tmp_path)}}
    assert from_mapping(TrainConfig, settings).photographs is not None
    with pytest.raises(ConfigurationError, match="photographs cannot train preset 'medium': encoder aliked"):
        from_mapping(TrainConfig, {**settings, "network": {"preset": "medium"}})
    monkeypatch.setattr(AlikedEncoder, "describes_any_point", True)
    assert from_mapping(TrainConfig, {**settings, "network": {"preset": "medium"}}).photographs is not None
