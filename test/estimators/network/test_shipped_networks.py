"""The shipped networks as the estimator runs them: folded, and with other memory layouts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from iup_pose_ros.benchmark.flight_views import flight_views
from iup_pose_ros.estimators.network.iup_pose_estimator import IUPPoseEstimator, image_tensor
from iup_pose_ros.model.checkpoint import load_checkpoint
from iup_pose_ros.weights import find_weights

SIZE = (320, 256)


@pytest.mark.parametrize("name", ["small", "medium"])
@torch.inference_mode()
def test_the_estimators_network_finds_the_matches_of_the_stored_one(name: str) -> None:
    stored = load_checkpoint(find_weights(Path(name)))[0]
    folded = IUPPoseEstimator(stored, device="cpu").model
    views = flight_views(320, 240, 6)
    images = [image_tensor(view.image, SIZE) for view in (views[0], views[5])]
    K = torch.from_numpy(views[0].intrinsics.resized(*SIZE).matrix[None]).float()
    expected, found = (
        network.align(*(network.encode(image, K) for image in images)).matches for network in (stored, folded)
    )
    assert float(expected.weights.amax()) > 0.5
    assert torch.allclose(found.rays_0, expected.rays_0, atol=1e-4)
    assert torch.allclose(found.rays_1, expected.rays_1, atol=1e-4)
    assert torch.allclose(found.weights, expected.weights, atol=1e-3)
