"""Options of the network, as the hybrid estimator takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from two_view_scenes import make_scene, random_pose

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.estimators.hybrid import HybridEstimator
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.model.checkpoint import (
    CheckpointInfo,
    SigmaCalibration,
    load_checkpoint_info,
    save_checkpoint,
)
from iup_pose_ros.model.config import PRESETS
from iup_pose_ros.model.iup_pose import IUPPose
from iup_pose_ros.types import Frame
from iup_pose_ros.weights import find_weights


@pytest.mark.parametrize(("ask_network", "asked"), [("auto", 0), ("when_needed", 0), ("always", 1)])
def test_the_hybrid_estimator_asks_the_network_of_a_weights_file_when_the_options_say_so(
    network: IUPPose, tmp_path: Path, ask_network: str, asked: int
) -> None:
    path = tmp_path / "small.safetensors"
    inlier_model = {"tracks": {"constant": 3.0}, "tracks network": {"constant": 5.0}}
    calibration = SigmaCalibration()
    info = CheckpointInfo(network.config, (320, 256), calibration, "none", inlier_model=inlier_model)
    save_checkpoint(network, info, path)
    hybrid = HybridEstimator.from_options(NetworkOptions(path, "cpu", ask_network=ask_network))
    scene = make_scene(np.random.default_rng(0), random_pose(np.random.default_rng(1)), noise=0.2)
    found = hybrid.estimate(scene.previous, scene.current, scene.matches)
    assert found.source == hybrid.name == "hybrid"
    assert np.linalg.eigvalsh(found.covariance).min() > 0.0
    assert (found.attention is not None) == bool(asked)
    assert found.inlier_probability == pytest.approx(expit(5.0 if asked else 3.0))
    with pytest.raises(
        ConfigurationError, match="unknown ask_network 'never'; accepted: auto, always, when_need"
    ):
        NetworkOptions(ask_network="never")


@pytest.mark.parametrize("runs", [True, False])
def test_the_second_network_of_hybrid_is_that_of_the_shipped_weights_medium(runs: bool) -> None:
    hybrid = HybridEstimator.from_options(
        NetworkOptions(device="cpu", image_area=96 * 96, second_network=runs)
    )
    rng = np.random.default_rng(0)
    camera = Intrinsics(100.0, 100.0, 48.0, 48.0, 96, 96)
    frames = [
        Frame(rng.integers(0, 255, (96, 96), dtype=np.uint8), camera, float(i), "camera") for i in range(2)
    ]
    *_, stage = hybrid.stages(frames[0], frames[1])
    assert ("second_network" in stage.evidence.matches) == runs
    shipped = load_checkpoint_info(find_weights(Path("medium")))
    assert shipped.config == PRESETS["medium"]
    assert "tracks network guided sift second_network" in shipped.inlier_model
