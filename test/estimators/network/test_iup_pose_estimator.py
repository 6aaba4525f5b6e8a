from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.special import expit
from two_view_scenes import direction_angle, make_scene, noise_frame, random_pose, turned

from iup_pose_ros.errors import CheckpointError, ConfigurationError, EstimationError
from iup_pose_ros.estimators.base import RelativePoseEstimator
from iup_pose_ros.estimators.epipolar.solver import EpipolarSolver, unit_relative_pose
from iup_pose_ros.estimators.network import iup_pose_estimator
from iup_pose_ros.estimators.network.conversion import relative_pose, select_confident, soft_matches
from iup_pose_ros.estimators.network.iup_pose_estimator import (
    MATCH_ERRORS,
    MAX_SCORING_MATCHES,
    IUPPoseEstimator,
    choose_device,
    image_tensor,
    network_size,
)
from iup_pose_ros.estimators.network.network_matches import MATCH_SOLVER, NetworkMatches
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.estimators.network.sigma_calibration import apply_sigma_calibration
from iup_pose_ros.estimators.pose_evidence import InlierModel
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import tangent_basis
from iup_pose_ros.model.checkpoint import (
    CheckpointInfo,
    SigmaCalibration,
    save_checkpoint,
)
from iup_pose_ros.model.config import PRESETS
from iup_pose_ros.model.correspondence import MatchedRays
from iup_pose_ros.model.iup_pose import IUPPose
from iup_pose_ros.types import Matches, RelativePose

AREA = PRESETS["small_grid"].image_area


@pytest.fixture(scope="module")
def estimator(network: IUPPose) -> IUPPoseEstimator:
    return IUPPoseEstimator(network, SigmaCalibration(2.0, 3.0), "cpu")


def assert_same(first: RelativePose, second: RelativePose, atol: float = 0.0) -> None:
    assert np.allclose(first.T_prev_curr.matrix, second.T_prev_curr.matrix, rtol=0.0, atol=atol)
    assert np.allclose(first.covariance, second.covariance, rtol=10 * atol, atol=atol)


def test_answer_is_a_unit_pose_with_positive_definite_covariance(estimator: IUPPoseEstimator) -> None:
    protocol: RelativePoseEstimator = estimator
    result = protocol.estimate(noise_frame(0), noise_frame(1))
    rotation = result.T_prev_curr.rotation
    assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.norm(result.T_prev_curr.translation) == pytest.approx(1.0)
    assert np.linalg.eigvalsh(result.covariance).min() > 0.0
    assert not result.metric
    assert result.source == "iup_pose"


def test_answer_is_the_inverse_of_the_networks_pose_with_calibrated_sigmas(
    estimator: IUPPoseEstimator,
) -> None:
    first, second = noise_frame(0), noise_frame(1)
    size = network_size(160, 120, AREA)
    K = torch.from_numpy(first.intrinsics.resized(*size).matrix).float()[None]
    with torch.inference_mode():
        output = estimator.model(image_tensor(first.image, size), K, image_tensor(second.image, size), K)
    result = estimator.estimate(first, second)
    R_1_0, t_1_0 = output.R_1_0[0].numpy(), output.t_1_0[0].numpy()
    assert np.allclose(result.T_prev_curr.rotation, R_1_0.T, atol=1e-6)
    assert np.allclose(result.T_prev_curr.translation, -R_1_0.T @ t_1_0, atol=1e-6)
    assert np.allclose(result.sigma_R, 2.0 * output.sigma_R[0].numpy(), rtol=1e-5)
    assert result.sigma_t == pytest.approx(3.0 * float(output.sigma_t[0]), rel=1e-5)


def test_covariance_agrees_with_sampling_the_networks_error_model() -> None:
    rng = np.random.default_rng(0)
    R_1_0, t_1_0 = so3.exp(np.array([0.3, -0.5, 0.2])), np.array([0.6, 0.0, 0.8])
    sigma_R, sigma_t = np.array([0.01, 0.02, 0.04]), 0.03
    estimate = relative_pose(R_1_0, t_1_0, sigma_R, sigma_t, "iup_pose")
    count = 20000
    R_true = R_1_0 @ so3.exp(rng.normal(size=(count, 3)) * sigma_R)
    t_true = t_1_0 + rng.normal(size=(count, 3)) * sigma_t
    R_inverse = R_true.transpose(0, 2, 1)
    dt = -np.einsum("nij,nj->ni", R_inverse, t_true) - estimate.T_prev_curr.translation
    dphi = so3.log(R_inverse @ estimate.T_prev_curr.rotation.T)
    sampled = np.cov(np.hstack([dt, dphi]).T)
    scale = np.sqrt(np.outer(np.diag(estimate.covariance), np.diag(estimate.covariance)))
    assert np.abs((sampled - estimate.covariance) / scale).max() < 0.04
    assert np.allclose(np.sqrt(np.diag(estimate.covariance)[3:]), sigma_R)


def test_frames_are_encoded_once(estimator: IUPPoseEstimator) -> None:
    encoded: list[int] = []
    hook = estimator.model.matcher.encoder.register_forward_hook(lambda *_: encoded.append(1))
    keyframe, second, third = noise_frame(0), noise_frame(1), noise_frame(2)
    estimator.estimate(keyframe, second)
    assert len(encoded) == 2
    kept = estimator.estimate(keyframe, third)
    assert len(encoded) == 3
    estimator.estimate(third, noise_frame(3))
    hook.remove()
    assert len(encoded) == 4
    fresh = IUPPoseEstimator(estimator.model, estimator.calibration, "cpu")
    assert_same(kept, fresh.estimate(keyframe, third))


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (64, 64, (288, 288)),
        (640, 480, (320, 256)),
        (640, 193, (512, 160)),
        (480, 640, (256, 320)),
        (3840, 2160, (384, 224)),
    ],
)
def test_network_size_keeps_aspect_and_area_on_the_grid(
    width: int, height: int, expected: tuple[int, int]
) -> None:
    size = network_size(width, height, AREA)
    assert size == expected
    assert size[0] % 32 == 0
    assert size[1] % 32 == 0
    assert abs(np.log(size[0] * size[1] / AREA)) < 0.25
    assert abs(np.log(size[0] / size[1] * height / width)) < 0.12


@pytest.mark.parametrize(("width", "height"), [(64, 64), (3840, 2160)])
@pytest.mark.parametrize("grey", [False, True])
def test_any_size_and_colour_works(estimator: IUPPoseEstimator, width: int, height: int, grey: bool) -> None:
    result = estimator.estimate(noise_frame(0, width, height, grey), noise_frame(1, width, height, grey))
    assert np.isfinite(result.covariance).all()


def test_resizing_keeps_the_viewing_rays() -> None:
    """A bright spot is found under the same ray before and after."""
    image = np.zeros((480, 640), np.uint8)
    cv2.circle(image, (400, 150), 25, 255, -1)
    camera = Intrinsics(500.0, 480.0, 310.0, 250.0, 640, 480)
    size = network_size(640, 480, AREA)
    resized = image_tensor(image, size)[0, 0].numpy()
    v, u = np.mgrid[: size[1], : size[0]]
    centre = np.array([(u * resized).sum(), (v * resized).sum()]) / resized.sum()
    assert np.allclose(camera.resized(*size).rays(centre), camera.rays(np.array([400.0, 150.0])), atol=2e-4)


def test_images_below_the_smallest_size_are_refused(estimator: IUPPoseEstimator) -> None:
    with pytest.raises(EstimationError, match="100x63; the minimum is 64 pixels"):
        estimator.estimate(noise_frame(0, 100, 63), noise_frame(1, 100, 63))


def test_output_that_is_not_finite_is_refused() -> None:
    with pytest.raises(EstimationError, match="not finite"):
        relative_pose(np.full((3, 3), np.nan), np.array([0.0, 0.0, 1.0]), np.ones(3), 1.0, "iup_pose")


def test_device_that_does_not_exist_is_refused_with_those_that_do() -> None:
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(ConfigurationError, match="device 'cuda:9' does not exist; accepted: auto, cpu"):
        choose_device("cuda:9")


def test_weights_come_from_a_file(network: IUPPose, estimator: IUPPoseEstimator, tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    info = CheckpointInfo(network.config, (320, 256), SigmaCalibration(2.0, 3.0), "none")
    save_checkpoint(network, info, path)
    loaded = IUPPoseEstimator.from_options(NetworkOptions(path, "cpu", "float32"))
    assert_same(
        loaded.estimate(noise_frame(0), noise_frame(1)),
        estimator.estimate(noise_frame(0), noise_frame(1)),
        atol=5e-3,
    )
    assert loaded.weights is not None
    assert len(loaded.weights.sha256) == 64
    with pytest.raises(CheckpointError, match="there is no weights file"):
        IUPPoseEstimator.from_options(NetworkOptions(tmp_path / "none.safetensors", "cpu"))


def test_matches_lie_in_pixels_of_the_frames(estimator: IUPPoseEstimator) -> None:
    first, second = noise_frame(0), noise_frame(1, 200, 100)
    found = estimator.match(first, second)
    cells_x = np.unique(np.round(found.matches.points_prev[:, 0], 3))
    width = network_size(160, 120, AREA)[0]
    assert np.allclose(cells_x, (np.arange(width // 8) + 0.5) * 8 * 160 / width - 0.5, atol=1e-2)
    assert found.matches.points_curr.min() > -1.0
    assert (found.matches.points_curr < (200.0, 100.0)).all()
    assert found.weights.shape == (len(found.matches),)
    assert found.weights.min() > 0.0


def test_attention_of_matches_and_of_the_pose_is_the_same(estimator: IUPPoseEstimator) -> None:
    first, second = noise_frame(0), noise_frame(1, 200, 100)
    matched, attention = estimator.match(first, second).attention, estimator.estimate(first, second).attention
    assert matched is not None
    assert attention is not None
    assert np.array_equal(matched, attention)
    height, width = attention.shape
    assert width / height == pytest.approx(200 / 100, rel=0.15)
    assert 0.0 <= attention.min() <= attention.max() <= 1.0


def test_only_matches_of_enough_weight_are_confident() -> None:
    points = np.arange(6.0).reshape(3, 2)
    found = NetworkMatches(Matches(points, points + 1.0), np.array([0.09, 0.1, 0.9]), None)
    assert np.array_equal(found.confident.points_prev, points[1:])
    assert np.array_equal(found.confident.points_curr, points[1:] + 1.0)


def test_matches_behind_the_camera_are_left_out() -> None:
    rays = torch.nn.functional.normalize(torch.tensor([[0.1, 0.0, 1.0], [0.0, 0.2, 1.0]]), dim=1)
    matched = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0, -0.2], [0.0, 0.3, 1.0]]), dim=1)
    field = rays.T.reshape(1, 3, 1, 2), matched.T.reshape(1, 3, 1, 2)
    view = MatchedRays(*field, torch.ones(1, 1, 1, 2), torch.tensor([0.001, 0.01]).view(1, 1, 1, 2))
    matches, weights = soft_matches(view, noise_frame(0), noise_frame(1))
    camera = noise_frame(0).intrinsics
    assert np.allclose(matches.points_prev, [[camera.cx, camera.cy + 0.2 * camera.fy]], atol=1e-4)
    assert np.allclose(matches.points_curr, [[camera.cx, camera.cy + 0.3 * camera.fy]], atol=1e-4)
    assert weights.tolist() == pytest.approx([0.5])


def test_the_surer_half_of_the_matches_is_trusted_and_not_too_many_of_them() -> None:
    points = np.arange(20.0).reshape(10, 2)
    matches = Matches(points, points + 1.0)
    weights = np.array([0.9, 0.1, 0.5, 0.44, 0.8, 0.2, 0.45, 0.7, 0.3, 0.6])
    found = select_confident(matches, weights, 10)
    assert found.points_prev[:, 0].tolist() == [
        0.0,
        4.0,
        8.0,
        12.0,
        14.0,
        18.0,
    ]
    few = select_confident(matches, weights, 4)
    assert few.points_prev[:, 0].tolist() == [0.0, 8.0, 14.0]
    assert np.array_equal(few.points_curr, few.points_prev + 1.0)
    assert len(select_confident(Matches(points[:0], points[:0]), np.zeros(0), 4)) == 0


def test_deviations_are_those_that_the_errors_of_the_networks_matches_call_for(
    network: IUPPose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoders' pose is near the truth and the network's matches agree with it."""
    scene = make_scene(np.random.default_rng(0), random_pose(np.random.default_rng(1)))
    near = turned(scene.T_prev_curr, 0.1)
    predicted = unit_relative_pose(near, tangent_basis(near.translation), np.eye(5), "iup_pose")
    weights = np.linspace(0.1, 1.0, len(scene.matches))
    monkeypatch.setattr(iup_pose_estimator, "relative_pose", lambda *_: predicted)
    monkeypatch.setattr(iup_pose_estimator, "soft_matches", lambda *_: (scene.matches, weights))
    found = IUPPoseEstimator(network, device="cpu").estimate(scene.previous, scene.current)
    used = select_confident(scene.matches, weights, MAX_SCORING_MATCHES)
    expected = EpipolarSolver("test", MATCH_ERRORS).covariance_at(near, scene.previous, scene.current, used)
    np.testing.assert_array_equal(found.T_prev_curr.matrix, near.matrix)
    assert np.allclose(found.covariance, expected.pose.covariance)
    assert np.allclose(found.sigma_R, expected.pose.sigma_R)
    assert found.sigma_t < 0.1


@pytest.fixture(scope="module")
def matcher() -> IUPPose:
    """A network without decoders."""
    torch.manual_seed(0)
    return IUPPose(replace(PRESETS["small_grid"], decoders=False))


def matching(matcher: IUPPose, found: Matches, monkeypatch: pytest.MonkeyPatch) -> IUPPoseEstimator:
    """An estimator whose network finds the given matches."""
    estimator = IUPPoseEstimator(
        matcher, SigmaCalibration(2.0, 3.0), "cpu", inlier_model=InlierModel({"network": {"constant": 1.0}})
    )
    matches = NetworkMatches(found, np.ones(len(found)), np.ones((3, 4), np.float32))
    monkeypatch.setattr(estimator, "match", lambda *_: matches)
    return estimator


def test_without_decoders_the_pose_is_that_of_the_networks_matches(
    matcher: IUPPose, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_scene(np.random.default_rng(0), random_pose(np.random.default_rng(1)))
    estimator = matching(matcher, scene.matches, monkeypatch)
    found = estimator.estimate(scene.previous, scene.current)
    expected = EpipolarSolver("iup_pose", MATCH_SOLVER).fit(scene.previous, scene.current, scene.matches)
    assert_same(found, apply_sigma_calibration(expected.pose, SigmaCalibration(2.0, 3.0)))
    assert np.degrees(direction_angle(found, scene)) < 3.0
    assert found.inlier_probability == pytest.approx(expit(1.0))
    assert found.attention is not None
    assert found.source == "iup_pose"


def test_without_decoders_a_pose_that_is_probably_wrong_is_an_error(
    matcher: IUPPose, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_scene(np.random.default_rng(0), random_pose(np.random.default_rng(1)))
    estimator = matching(matcher, scene.matches, monkeypatch)
    estimator._inlier_model = InlierModel({"network": {"constant": -2.0}})
    with pytest.raises(EstimationError, match=r"probability of 0\.12, the minimum is"):
        estimator.estimate(scene.previous, scene.current)
