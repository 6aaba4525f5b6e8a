"""Errors of intrinsics and shutter in the covariance of an epipolar pose, against poses fitted with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import least_squares
from two_view_scenes import CAMERA, WIDE_CAMERA, Scene, make_scene, random_pose, unit

from iup_pose_ros.estimators.epipolar.covariance import (
    IntrinsicsUncertainty,
    pose_covariance,
    shutter_covariance,
)
from iup_pose_ros.estimators.epipolar.residuals import CameraPair, EpipolarErrors
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.types import Matches

Array = NDArray[np.float64]

EXACT = IntrinsicsUncertainty(0.0, 0.0, 0.0)


def changed(errors: EpipolarErrors, change: Array) -> Pose:
    """The pose, changed by a rotation and along its tangent basis (5,)."""
    rotation = so3.exp(change[:3]) @ errors.T_prev_curr.rotation
    return Pose(rotation, unit(errors.T_prev_curr.translation + errors.basis @ change[3:]))


def refitted(errors: EpipolarErrors, cameras: CameraPair, matches: Matches) -> Array:
    """Change (5,) of the least-squares pose that these cameras and matches make."""

    def residuals(change: Array) -> Array:
        return EpipolarErrors(changed(errors, change), matches, cameras).residuals

    return least_squares(residuals, np.zeros(5), method="lm", xtol=1e-14, ftol=1e-14).x


def wrong_camera(camera: Intrinsics, kind: str, size: float) -> Intrinsics:
    offset = size * max(camera.width, camera.height)
    if kind == "focal":
        return replace(camera, fx=camera.fx * (1.0 + size), fy=camera.fy * (1.0 + size))
    if kind == "cx":
        return replace(camera, cx=camera.cx + offset)
    return replace(camera, cy=camera.cy + offset) if kind == "cy" else camera


def distorted(points: Array, camera: Intrinsics, size: float) -> Array:
    """Pixels moved outwards with the third power of the radius, by ``size`` of the side in the corners."""
    offsets = points - [camera.cx, camera.cy]
    half_diagonal = 0.5 * np.hypot(camera.width, camera.height)
    radii = np.linalg.norm(offsets, axis=1, keepdims=True) / half_diagonal
    return points + size * max(camera.width, camera.height) * radii**2 * offsets / half_diagonal


@pytest.mark.parametrize("one_camera", [True, False])
@pytest.mark.parametrize("kind", ["focal", "principal_point", "distortion"])
def test_each_error_of_the_intrinsics_adds_the_square_of_the_shift_that_it_makes(kind: str, one_camera: bool):
    rng = np.random.default_rng(6)
    cameras = (CAMERA, CAMERA) if one_camera else (CAMERA, WIDE_CAMERA)
    scene = make_scene(rng, random_pose(rng, 5.0), noise=0.0, cameras=cameras, same_camera=one_camera)
    pair = CameraPair(*cameras, one_camera)
    errors = EpipolarErrors(scene.T_prev_curr, scene.matches, pair)
    size, expected = 1e-4, np.zeros((5, 5))
    for change in ("cx", "cy") if kind == "principal_point" else (kind,):
        for views in [(True, True)] if one_camera else [(True, False), (False, True)]:
            wrong = [
                wrong_camera(camera, change, size * moved)
                for camera, moved in zip(cameras, views, strict=True)
            ]
            points = [scene.matches.points_prev, scene.matches.points_curr]
            if change == "distortion":
                points = [
                    distorted(pixels, camera, size * moved)
                    for pixels, camera, moved in zip(points, cameras, views, strict=True)
                ]
            shift = refitted(errors, CameraPair(wrong[0], wrong[1], one_camera), Matches(*points))
            expected += np.outer(shift, shift)
    uncertainty = replace(EXACT, **{kind: size})
    found, exact = (pose_covariance(errors, 1e-3, 1.0, 0, each) for each in (uncertainty, EXACT))
    added = found - exact
    np.testing.assert_allclose(added, expected, rtol=0.03, atol=0.01 * np.abs(expected).max())


def sheared(scene: Scene, size: float) -> Matches:
    """Matches in images whose rows are shifted: the last one, against the first, by ``size`` of the width."""
    points = []
    for pixels, frame, sign in (
        (scene.matches.points_prev, scene.previous, -0.5),
        (scene.matches.points_curr, scene.current, 0.5),
    ):
        camera = frame.intrinsics
        shift = sign * size * camera.width * (pixels[:, 1] / camera.height - 0.5)
        points.append(pixels + np.column_stack([shift, np.zeros(len(shift))]))
    return Matches(*points)


@pytest.mark.parametrize("second", [CAMERA, WIDE_CAMERA])
def test_a_shift_of_rows_that_the_residuals_show_adds_the_square_of_its_error(second: Intrinsics):
    rng = np.random.default_rng(6)
    scene = make_scene(rng, random_pose(rng, 5.0), noise=0.0, cameras=(CAMERA, second))
    pair = CameraPair(CAMERA, second, second is CAMERA)
    errors, matches = EpipolarErrors(scene.T_prev_curr, scene.matches, pair), sheared(scene, 1e-4)
    change = refitted(errors, pair, matches)
    fitted = EpipolarErrors(changed(errors, change), matches, pair)
    found, expected = shutter_covariance(fitted, 1e-5), np.outer(change, change)
    np.testing.assert_allclose(found, expected, rtol=0.03, atol=0.01 * expected.max())


def test_a_shift_of_rows_is_estimated_together_with_the_pose_and_has_a_prior():
    rng = np.random.default_rng(6)
    scene = make_scene(rng, random_pose(rng, 5.0), noise=0.3)
    errors = EpipolarErrors(scene.T_prev_curr, scene.matches, CameraPair(CAMERA, CAMERA, True))
    joint = np.column_stack([errors.jacobian, errors.row_shift_jacobian()])
    visible = np.sqrt(np.linalg.lstsq(errors.jacobian, joint[:, 5], rcond=None)[1][0])
    noise = 0.05 * visible  # for which residuals and prior have the same weight
    with_prior = np.vstack([joint, [0.0] * 5 + [noise / 0.05]])
    alone = np.linalg.lstsq(errors.jacobian, errors.residuals, rcond=None)[0]
    together = np.linalg.lstsq(with_prior, np.append(errors.residuals, 0.0), rcond=None)[0][:5]
    expected = np.outer(together - alone, together - alone)
    np.testing.assert_allclose(shutter_covariance(errors, noise), expected, rtol=1e-6, atol=1e-12)
