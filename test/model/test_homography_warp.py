from __future__ import annotations

import cv2
import numpy as np
import torch

from iup_pose_ros.demo_scene.planes import PlaneScene, TexturedPlane, render
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.model.homography_warp import homography_warp, sampling_grid
from iup_pose_ros.model.rays import intrinsics_at_stride, unit_rays
from iup_pose_ros.model.rotations import exponential

SIZE_0, SIZE_1 = (96, 128), (80, 144)
CAMERA_0 = Intrinsics(110.0, 105.0, 60.0, 50.0, SIZE_0[1], SIZE_0[0])
CAMERA_1 = Intrinsics(120.0, 125.0, 75.0, 38.0, SIZE_1[1], SIZE_1[0])
ROTATION = exponential(torch.tensor([0.08, -0.12, 0.2]))[None]


def matrix(camera: Intrinsics) -> torch.Tensor:
    return torch.from_numpy(camera.matrix).float()[None]


def smooth_image(seed: int, height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 1, (height, width, 3)).astype(np.float32)
    image = cv2.GaussianBlur(noise, (0, 0), 3.0)
    return (image - image.min()) / (image.max() - image.min())


def test_sampling_grid_is_the_rotational_homography() -> None:
    pixels, forward = sampling_grid(matrix(CAMERA_0), matrix(CAMERA_1), ROTATION, SIZE_0)
    homography = CAMERA_1.matrix @ ROTATION[0].numpy() @ np.linalg.inv(CAMERA_0.matrix)
    v, u = np.mgrid[: SIZE_0[0], : SIZE_0[1]].astype(np.float64)
    expected = cv2.perspectiveTransform(np.stack([u, v], -1).reshape(-1, 1, 2), homography)
    assert np.allclose(pixels[0].permute(1, 2, 0).numpy().reshape(-1, 2), expected.reshape(-1, 2), atol=1e-3)
    assert forward.all()


def test_warp_agrees_with_opencv_inside_the_view() -> None:
    image = smooth_image(0, *SIZE_1)
    features = torch.from_numpy(image).permute(2, 0, 1)[None]
    warped, mask = homography_warp(features, matrix(CAMERA_0), matrix(CAMERA_1), ROTATION, SIZE_0)
    homography = CAMERA_1.matrix @ ROTATION[0].numpy() @ np.linalg.inv(CAMERA_0.matrix)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    expected = cv2.warpPerspective(
        image, homography, SIZE_0[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    inside = mask[0, 0].numpy() > 0
    difference = np.abs(warped[0].permute(1, 2, 0).numpy() - expected)[inside]
    assert 0.4 < inside.mean() < 1.0
    assert difference.max() < 0.01  # OpenCV rounds coordinates to 1/32 pixel
    assert np.all(warped[0, :, ~inside].numpy() == 0.0)


def test_rendered_pure_rotation_realigns_within_a_tenth_of_a_pixel() -> None:
    texture = (smooth_image(1, 256, 256) * 255).astype(np.uint8)
    scene = PlaneScene.from_planes([TexturedPlane((0, 0, 2.0), (4.0, 0, 0), (0, 4.0, 0), texture)])
    T_world_1 = torch.eye(4, dtype=torch.float64)[None]
    T_world_1[:, :3, :3] = ROTATION.transpose(1, 2).double()
    image_0 = render(scene, matrix(CAMERA_0), torch.eye(4)[None], SIZE_0[1], SIZE_0[0], supersampling=1).image
    image_1 = render(scene, matrix(CAMERA_1), T_world_1, SIZE_1[1], SIZE_1[0], supersampling=1).image
    warped, mask = homography_warp(image_1, matrix(CAMERA_0), matrix(CAMERA_1), ROTATION, SIZE_0)
    grey_0, grey_1 = (image.float().mean(1)[0].numpy() for image in (image_0, warped))
    window = (slice(40, 88), slice(32, 96))
    assert mask[0, 0][window].all()
    shift, response = cv2.phaseCorrelate(grey_0[window], grey_1[window], cv2.createHanningWindow((64, 48), 5))
    assert response > 0.8
    assert np.linalg.norm(shift) < 0.1


def test_identical_cameras_without_rotation_change_nothing() -> None:
    features = torch.rand(1, 4, 6, 9)
    K = intrinsics_at_stride(matrix(CAMERA_0), 16)
    warped, mask = homography_warp(features, K, K, torch.eye(3)[None], (6, 9))
    assert torch.allclose(warped, features, atol=1e-4)
    assert mask.all()


def test_what_lies_behind_the_camera_is_masked_with_finite_gradients() -> None:
    vector = torch.tensor([0.0, 3.0, 0.0], requires_grad=True)
    features = torch.rand(1, 2, 8, 8, requires_grad=True)
    K = torch.tensor([[[8.0, 0.0, 3.5], [0.0, 8.0, 3.5], [0.0, 0.0, 1.0]]])
    warped, mask = homography_warp(features, K, K, exponential(vector)[None], (8, 8))
    warped.sum().backward()
    assert not mask.any()
    assert vector.grad is not None
    assert vector.grad.isfinite().all()


def test_cell_centres_at_a_stride_are_the_middle_of_their_pixels() -> None:
    image_rays = unit_rays(matrix(CAMERA_0), *SIZE_0)
    cell_rays = unit_rays(intrinsics_at_stride(matrix(CAMERA_0), 2), SIZE_0[0] // 2, SIZE_0[1] // 2)
    tangents = (image_rays[:, :2] / image_rays[:, 2:]).unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5))
    assert torch.allclose(cell_rays[:, :2] / cell_rays[:, 2:], tangents, atol=1e-6)
