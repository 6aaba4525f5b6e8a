from __future__ import annotations

import numpy as np
import pytest
import torch

from iup_pose_ros.demo_scene.demo_recording import CAMERA
from iup_pose_ros.demo_scene.flight import fly
from iup_pose_ros.demo_scene.planes import PlaneScene, RenderedViews, render
from iup_pose_ros.demo_scene.rendered_pair import sample_at, visible_in_1, warp_0_to_1
from iup_pose_ros.demo_scene.room import DEPTH, HEIGHT, LENGTH, build_room


def camera_matrices(count: int) -> torch.Tensor:
    return torch.from_numpy(CAMERA.matrix).float().expand(count, 3, 3)


def views_of_the_flight(room: PlaneScene, indices: list[int]) -> RenderedViews:
    trajectory = fly()
    poses = torch.from_numpy(np.stack([trajectory.pose(index).matrix for index in indices]))
    return render(room, camera_matrices(len(indices)), poses, CAMERA.width, CAMERA.height)


@pytest.fixture(scope="module")
def neighbours(room: PlaneScene) -> RenderedViews:
    """Render three pairs of images that are 3 frames (0.15 s) apart."""
    return views_of_the_flight(room, [100, 103, 200, 203, 300, 303])


def test_room_has_no_holes(neighbours: RenderedViews) -> None:
    assert torch.isfinite(neighbours.depth).all()
    assert float(neighbours.depth.max()) < LENGTH + DEPTH + 2.5


def test_views_are_textured_and_well_exposed(neighbours: RenderedViews) -> None:
    image = neighbours.image
    assert 0.25 < float(image.mean()) < 0.6
    assert float((image > 0.98).float().mean()) < 0.05
    grey = image.mean(dim=1)
    # Each of the sixteen blocks of a view has enough contrast for feature detection.
    blocks = grey.unfold(1, 90, 90).unfold(2, 120, 120)
    assert float(blocks.flatten(-2).std(dim=-1).min()) > 0.01


def test_neighbouring_frames_are_consistent_with_depth_and_poses(neighbours: RenderedViews) -> None:
    trajectory = fly()
    for first in (0, 2, 4):
        index = (100, 200, 300)[first // 2]
        T_1_0 = torch.from_numpy(
            (trajectory.pose(index + 3).inverse() @ trajectory.pose(index)).matrix
        ).float()
        R_1_0, t_1_0 = T_1_0[None, :3, :3], T_1_0[None, :3, 3]
        depth_0, depth_1 = neighbours.depth[first, None], neighbours.depth[first + 1, None]
        K = camera_matrices(1)
        pixels, _ = warp_0_to_1(depth_0, K, R_1_0, t_1_0)
        seen = visible_in_1(depth_0, depth_1, K, R_1_0, t_1_0)
        warped = sample_at(neighbours.image[first + 1, None], pixels)
        residual = ((warped - neighbours.image[first, None]).abs().mean(1) * 255)[seen]
        assert float(seen.float().mean()) > 0.8
        assert float(residual.median()) < 2.0
        assert float(residual.mean()) < 4.0


def test_room_is_closed_and_as_large_as_stated(room: PlaneScene) -> None:
    corners = room.corners.reshape(-1, 3)
    inside = corners[corners[:, 0] < LENGTH + 1.0]  # without the picture behind the window
    np.testing.assert_allclose(inside.amin(0), [0, 0, 0], atol=0.15)
    np.testing.assert_allclose(inside.amax(0), [LENGTH, DEPTH, HEIGHT], atol=0.15)


@pytest.mark.slow
def test_building_again_gives_the_same_room(room: PlaneScene) -> None:
    again = build_room()
    assert torch.equal(room.centre, again.centre)
    assert torch.equal(room.textures.texels, again.textures.texels)
