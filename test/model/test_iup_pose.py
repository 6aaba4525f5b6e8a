from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from iup_pose_ros.model.config import PRESETS, IUPPoseConfig
from iup_pose_ros.model.iup_pose import (
    IUPPose,
    PosePrediction,
    RotationFusion,
)
from iup_pose_ros.model.rotations import exponential, rotation_error
from iup_pose_ros.training.losses import LossWeights, pose_loss
from iup_pose_ros.training.targets import PairTarget

# They choose keypoints, which has no gradient.
RANKING = ("matcher.encoder.reliability", "matcher.alignment.promising")
SIZES = {"4:3": (96, 128), "wide": (64, 192), "tall": (128, 64)}


@pytest.fixture(scope="module", params=PRESETS)
def network(request: pytest.FixtureRequest) -> IUPPose:
    torch.manual_seed(0)
    return IUPPose(PRESETS[request.param])


@pytest.fixture(scope="module")
def small() -> IUPPose:
    torch.manual_seed(0)
    return IUPPose(PRESETS["small_grid"]).eval()


def camera(batch: int, height: int, width: int) -> Tensor:
    K = torch.tensor([[0.8 * width, 0.0, 0.5 * width], [0.0, 0.8 * width, 0.5 * height], [0.0, 0.0, 1.0]])
    return K.expand(batch, 3, 3)


def views(batch: int, height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, batch, 3, height, width, generator=generator)
    K = camera(batch, height, width)
    return images[0], K, images[1], K


def target(batch: int) -> PairTarget:
    R = exponential(torch.tensor([[0.1, -0.2, 0.3]])).expand(batch, 3, 3)
    return PairTarget(R, torch.tensor([[1.0, 0.5, -2.0]]).expand(batch, 3))


def pose_fields(prediction: PosePrediction) -> dict[str, Tensor]:
    return {name: value for name, value in prediction._asdict().items() if isinstance(value, Tensor)}


def test_presets_have_the_promised_number_of_parameters() -> None:
    count = {
        name: sum(parameter.numel() for parameter in IUPPose(config).parameters())
        for name, config in PRESETS.items()
    }
    assert abs(count["base"] - 37e6) <= 1e6
    assert count["small"] <= 10e6


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_forward_and_backward_at_every_aspect_ratio(network: IUPPose, size: tuple[int, int]) -> None:
    network.train().zero_grad()
    prediction = network(*views(2, *size))
    pose_loss(prediction, target(2), LossWeights()).backward()
    assert prediction.R_1_0.shape == (2, 3, 3)
    assert torch.allclose(prediction.t_1_0.norm(dim=1), torch.ones(2), atol=1e-5)
    assert prediction.sigma_R.shape == (2, 3)
    assert prediction.sigma_t.shape == (2,)
    identity = prediction.R_1_0 @ prediction.R_1_0.transpose(1, 2)
    assert torch.allclose(identity, torch.eye(3).expand(2, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(prediction.R_1_0), torch.ones(2), atol=1e-5)
    without = [
        name
        for name, parameter in network.named_parameters()
        if not name.startswith(RANKING)
        and (parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.any())
    ]
    assert not without, f"no or not finite gradient: {without}"


def test_direction_loss_alone_reaches_the_stem(small: IUPPose) -> None:
    small.zero_grad()
    prediction = small(*views(1, 64, 96))
    prediction.t_1_0[:, 0].sum().backward()
    stem = next(small.matcher.encoder.parameters())
    assert stem.grad is not None
    assert stem.grad[:, :3].any()
    assert stem.grad[:, 3:].any()


def test_both_rotation_stages_run_the_same_decoder(small: IUPPose) -> None:
    calls: list[torch.nn.Module] = []
    hook = small.rotation_decoder.register_forward_hook(lambda module, *_: calls.append(module))
    small(*views(1, 64, 64))
    hook.remove()
    assert calls == [small.rotation_decoder, small.rotation_decoder]
    decoders = [name for name, _ in small.named_modules() if name.endswith("_decoder")]
    assert decoders == ["rotation_decoder", "translation_decoder"]


def test_second_stage_starts_from_the_first() -> None:
    """With a decoder that always answers the same increment both stages compose it."""
    torch.manual_seed(0)
    small = IUPPose(replace(PRESETS["small_grid"], initial_pose="identity")).eval()
    increment = torch.tensor([[0.02, -0.01, 0.03]])
    hook = small.rotation_decoder.register_forward_hook(lambda *_: (increment, torch.zeros(1, 3)))
    prediction = small(*views(1, 64, 64))
    hook.remove()
    sigma = small.config.prior_sigma_rotation
    assert torch.allclose(prediction.R_stage1, exponential(sigma * increment), atol=1e-6)
    assert torch.allclose(prediction.R_stage2, exponential(2.0 * sigma * increment), atol=1e-4)
    assert torch.allclose(prediction.sigma_stage2, torch.full((1, 3), 0.3), rtol=1e-2)


@torch.inference_mode()
def test_kept_features_give_the_same_bits_as_forward(small: IUPPose) -> None:
    image_0, K_0, image_1, K_1 = views(1, 96, 128)
    keyframe = small.encode(image_0, K_0)
    small.match(keyframe, small.encode(image_0 * 0.5, K_0))
    cached = pose_fields(small.match(keyframe, small.encode(image_1, K_1)))
    for name, value in pose_fields(small(image_0, K_0, image_1, K_1)).items():
        assert torch.equal(value, cached[name]), name


@torch.inference_mode()
def test_evaluation_is_deterministic_and_independent_of_the_batch(small: IUPPose) -> None:
    inputs = views(3, 64, 96)
    first, second = pose_fields(small(*inputs)), pose_fields(small(*inputs))
    single = pose_fields(small(*(value[1:2] for value in inputs)))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
        assert torch.allclose(value[1:2], single[name], atol=1e-4), name


@torch.inference_mode()
def test_views_may_differ_in_size_and_camera(small: IUPPose) -> None:
    prediction = small(
        torch.rand(1, 3, 64, 96), camera(1, 64, 96), torch.rand(1, 3, 96, 64), camera(1, 96, 64)
    )
    assert prediction.correspondence.view_0.matched.shape == (1, 3, 8, 12)
    assert prediction.correspondence.view_1.matched.shape == (1, 3, 12, 8)
    assert prediction.R_1_0.isfinite().all()


@torch.inference_mode()
def test_mixed_precision_keeps_the_geometry(small: IUPPose) -> None:
    inputs = views(1, 96, 128)
    exact = small(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = small(*inputs)
    own, expected = rounded.correspondence.view_0.own, exact.correspondence.view_0.own
    assert torch.equal(own, expected)
    assert all(value.dtype == torch.float32 for value in pose_fields(rounded).values())
    assert torch.allclose(rounded.R_1_0 @ rounded.R_1_0.transpose(1, 2), torch.eye(3), atol=1e-5)
    assert torch.allclose(rounded.t_1_0.norm(dim=1), torch.ones(1), atol=1e-5)


def test_image_size_off_the_grid_is_refused(small: IUPPose) -> None:
    with pytest.raises(ValueError, match="100x64; multiples of 32"):
        small(*views(1, 64, 100))


@pytest.mark.parametrize(
    "changes",
    [{"matched_rays": False}, {"initial_pose": "identity"}, {"encoder": "resnet18"}, {"experts": 3}],
)
def test_switches_of_the_configuration_run(changes: dict[str, object]) -> None:
    config: IUPPoseConfig = replace(PRESETS["small_grid"], **changes)  # type: ignore[arg-type]
    prediction = IUPPose(config).eval()(*views(1, 64, 64))
    assert prediction.R_1_0.isfinite().all()


def test_rotation_fusion_leans_to_the_surer_stage() -> None:
    fusion = RotationFusion()
    R_1, R_2 = exponential(torch.tensor([[0.10, 0.20, 0.0]])), exponential(torch.tensor([[0.12, 0.20, 0.0]]))
    sure, unsure = torch.full((1, 3), 0.001), torch.full((1, 3), 0.1)
    to_first, sigma = fusion(R_1, sure, R_2, unsure)
    assert rotation_error(to_first, R_1).norm() < 1e-4
    assert torch.allclose(sigma, sure, rtol=0.05)
    equal, sigma = fusion(R_1, sure, R_2, sure)
    middle = exponential(torch.tensor([[0.11, 0.20, 0.0]]))
    assert rotation_error(equal, middle).norm() < 1e-4
    assert torch.allclose(sigma, sure), "full correlation is assumed: equal stages do not add information"


@pytest.mark.slow
@pytest.mark.skipif(
    "LONG_TESTS" not in os.environ, reason="takes half a minute; LONG_TESTS=1 make test runs it"
)
def test_exported_network_agrees_with_the_module(small: IUPPose) -> None:
    inputs = views(1, 64, 96)
    with torch.no_grad():
        program = torch.export.export(small, inputs)
        others = views(1, 64, 96, seed=1)
        exported, expected = pose_fields(program.module()(*others)), pose_fields(small(*others))
    assert exported.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(exported[name], value, atol=1e-4), name
