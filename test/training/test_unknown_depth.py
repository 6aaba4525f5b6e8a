from __future__ import annotations

import torch

from iup_pose_ros.training.targets import match_target

K = torch.tensor([[[60.0, 0.0, 31.5], [0.0, 60.0, 31.5], [0.0, 0.0, 1.0]]])
IDENTITY = torch.eye(3)[None]


def test_where_the_depth_is_unknown_nothing_is_visible_and_all_values_are_finite():
    depth_0, depth_1 = torch.full((1, 64, 64), 4.0), torch.full((1, 64, 64), 4.0)
    depth_0[:, :, :24] = 0.0
    depth_1[:, :24] = 0.0
    for t_1_0 in (torch.zeros(1, 3), torch.tensor([[0.01, 0.0, 0.0]])):
        target = match_target(IDENTITY, t_1_0, K, K, depth_0, depth_1)
        assert target.cells.isfinite().all()
        assert target.rays.isfinite().all()
        assert not target.visible[:, :, :3].any()
        assert not target.visible[:, :3].any()
        assert target.visible[:, 3:, 3:].all()


def test_the_sky_is_visible_at_infinity():
    sky = torch.full((1, 64, 64), torch.inf)
    target = match_target(IDENTITY, torch.tensor([[5.0, 0.0, 0.0]]), K, K, sky, sky)
    assert target.visible.all()
    still = match_target(IDENTITY, torch.zeros(1, 3), K, K, sky, sky)
    torch.testing.assert_close(target.cells, still.cells)
