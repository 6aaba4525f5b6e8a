from __future__ import annotations

import pytest
import torch

from iup_pose_ros.model.config import PRESETS
from iup_pose_ros.model.iup_pose import IUPPose


@pytest.fixture(scope="module")
def network() -> IUPPose:
    torch.manual_seed(0)
    return IUPPose(PRESETS["small_grid"])
