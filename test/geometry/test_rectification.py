"""Undistortion: straight rays come out where the pinhole intrinsics say."""

from __future__ import annotations

import numpy as np
import pytest

from iup_pose_ros.errors import CalibrationError
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.rectification import Rectifier, SensorWindow

WIDTH, HEIGHT = 640, 480
K = [400.0, 0.0, 318.0, 0.0, 405.0, 236.0, 0.0, 0.0, 1.0]
DISTORTIONS = {
    "plumb_bob": [-0.28, 0.07, 0.0002, 0.00002, 0.0],
    "rational_polynomial": [-0.2, 0.05, 0.0, 0.0, 0.0, 0.01, 0.0, 0.0],
    "equidistant": [-0.02, 0.01, 0.0, 0.0],
}


def distorted_pixels(rays: np.ndarray, model: str) -> np.ndarray:
    return projected(rays, K, DISTORTIONS[model], model)


def projected(rays: np.ndarray, k: list[float], distortion: list[float], model: str) -> np.ndarray:
    """Pixels (N, 2) by the formulas of the models, written out."""
    x, y = rays[:, 0] / rays[:, 2], rays[:, 1] / rays[:, 2]
    r = np.hypot(x, y)
    if model == "equidistant":
        angle = np.arctan(r)
        k1, k2, k3, k4 = distortion
        radial = angle * (1 + k1 * angle**2 + k2 * angle**4 + k3 * angle**6 + k4 * angle**8)
        scale = np.where(r > 1e-9, radial / np.maximum(r, 1e-9), 1.0)
        x, y = scale * x, scale * y
    else:
        k1, k2, p1, p2, k3, k4, k5, k6 = (*distortion, *[0.0] * 8)[:8]
        scale = (1 + k1 * r**2 + k2 * r**4 + k3 * r**6) / (1 + k4 * r**2 + k5 * r**4 + k6 * r**6)
        x, y = (
            x * scale + 2 * p1 * x * y + p2 * (r**2 + 2 * x**2),
            y * scale + p1 * (r**2 + 2 * y**2) + 2 * p2 * x * y,
        )
    return np.stack([k[0] * x + k[1] * y + k[2], k[4] * y + k[5]], axis=1)


def blob_image(centres: np.ndarray) -> np.ndarray:
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    blobs = [np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * 2.0**2)) for x, y in centres]
    return (255 * np.clip(np.sum(blobs, axis=0), 0, 1)).astype(np.uint8)


def blob_centre(image: np.ndarray, near: np.ndarray) -> np.ndarray:
    v, u = np.indices(image.shape)
    weights = image * (np.hypot(u - near[0], v - near[1]) < 12)
    return np.array([np.average(u, weights=weights), np.average(v, weights=weights)])


@pytest.mark.parametrize("model", list(DISTORTIONS))
def test_rectified_blobs_lie_where_the_pinhole_camera_sees_them(model):
    rays = np.array([[-0.5, -0.3, 1.0], [0.4, 0.3, 1.0], [0.0, 0.0, 1.0], [-0.4, 0.35, 1.0]])
    rectifier = Rectifier(K, DISTORTIONS[model], model, WIDTH, HEIGHT)
    rectified = rectifier.rectify(blob_image(distorted_pixels(rays, model)))
    for expected in rectifier.intrinsics.project(rays):
        np.testing.assert_allclose(blob_centre(rectified, expected), expected, atol=0.15)


@pytest.mark.parametrize("model", ["", *DISTORTIONS])
def test_reduced_images_show_the_same_rays(model):
    rays = np.array([[-0.5, -0.3, 1.0], [0.4, 0.3, 1.0], [0.0, 0.0, 1.0], [-0.4, 0.35, 1.0]])
    distortion = DISTORTIONS.get(model, [])
    image = blob_image(projected(rays, K, distortion or [0.0] * 5, model))
    rectifier = Rectifier(K, distortion, model, WIDTH, HEIGHT, maximum_width=300)
    rectified, camera = rectifier.rectify(image), rectifier.intrinsics
    assert rectified.shape == (camera.height, camera.width)
    assert camera.width * camera.height <= 300 * 225
    for expected in camera.project(rays):
        np.testing.assert_allclose(blob_centre(rectified, expected), expected, atol=0.15)


def test_reduced_image_without_distortion_is_the_resized_one():
    rectifier = Rectifier(K, [], "", WIDTH, HEIGHT, maximum_width=320)
    expected = Intrinsics(K[0], K[4], K[2], K[5], WIDTH, HEIGHT).resized(320, 240)
    np.testing.assert_allclose(rectifier.intrinsics.matrix, expected.matrix)
    assert rectifier.rectify(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).shape == (240, 320, 3)


@pytest.mark.parametrize("maximum_width", [0, WIDTH, 2 * WIDTH])
def test_narrower_images_are_not_reduced(maximum_width):
    rectifier = Rectifier(K, [], "", WIDTH, HEIGHT, maximum_width=maximum_width)
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    assert rectifier.rectify(image) is image


def test_width_of_a_region_of_interest_counts():
    window = SensorWindow(64, 32, 320, 240)
    rectifier = Rectifier(K, [], "", WIDTH, HEIGHT, window, maximum_width=160)
    in_region = Intrinsics(K[0], K[4], K[2] - 64, K[5] - 32, 320, 240)
    np.testing.assert_allclose(rectifier.intrinsics.matrix, in_region.resized(160, 120).matrix)


def view_angles(camera: Intrinsics) -> np.ndarray:
    """Degrees from the optical axis to the left, top, right and bottom border of the image."""
    sides = [
        (camera.cx + 0.5) / camera.fx,
        (camera.cy + 0.5) / camera.fy,
        (camera.width - 0.5 - camera.cx) / camera.fx,
        (camera.height - 0.5 - camera.cy) / camera.fy,
    ]
    return np.degrees(np.arctan(sides))


CALIBRATIONS = {
    # name: K as fx skew cx fy cy, coefficients, model, size, angles to the left, top, right and bottom border
    "euroc": ([458.65, 0.0, 367.2, 457.3, 248.4], [-0.2834, 0.074, 0.0002, 0.00002], "plumb_bob", (752, 480)),
    "tum_fr1": (
        [517.3, 0.0, 318.6, 516.5, 255.3],
        [0.2624, -0.9531, -0.0054, 0.0026, 1.1633],
        "plumb_bob",
        (640, 480),
    ),
    "kitti_raw": (
        [984.2, 0.0, 690.0, 980.8, 233.2],
        [-0.3728, 0.2037, 0.0022, 0.0014, -0.0723],
        "plumb_bob",
        (1392, 512),
    ),
    "oak_d_like": (
        [283.0, 0.0, 320.0, 283.0, 200.0],
        [9.6, 3.6, 0.0001, 0.0002, 0.05, 9.97, 7.0, 0.6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        "rational_polynomial",
        (640, 400),
    ),
    "tum_vi_like": (
        [190.98, 0.0, 254.93, 190.97, 256.9],
        [0.00348, 0.000715, -0.00205, 0.0002],
        "equidistant",
        (512, 512),
    ),
    "fisheye_165_deg": (
        [143.0, 0.0, 209.8, 143.1, 202.2],
        [-0.0069, 0.0424, -0.0403, 0.0073],
        "equidistant",
        (424, 400),
    ),
    "fisheye_off_centre": (
        [143.0, 0.0, 120.0, 143.1, 280.0],
        [-0.0069, 0.0424, -0.0403, 0.0073],
        "equidistant",
        (424, 400),
    ),
    "ideal_fisheye": ([143.0, 0.0, 211.5, 143.0, 199.5], [0.0] * 4, "equidistant", (424, 400)),
    "fisheye_skew": (
        [193.4, -1.7, 319.7, 194.6, 239.0],
        [0.1084, -0.8654, 1.2851, -0.4126],
        "equidistant",
        (640, 480),
    ),
    "webcam_whose_corners_fold": (
        [500.0, 0.0, 319.5, 500.0, 239.5],
        [0.2, -0.5, 0, 0],
        "plumb_bob",
        (640, 480),
    ),
    "skew_alone": ([400.0, -3.0, 319.5, 400.0, 239.5], [], "plumb_bob", (640, 480)),
}


def rectifier_of(name: str, fov: float = 0.0) -> tuple[Rectifier, list[float]]:
    (fx, skew, cx, fy, cy), distortion, model, size = CALIBRATIONS[name]
    k = [fx, skew, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    return Rectifier(k, distortion, model, *size, fov=fov), k


@pytest.mark.parametrize("name", list(CALIBRATIONS))
def test_view_surrounds_the_optical_axis_without_an_empty_border(name):
    rectifier, k = rectifier_of(name)
    _, _, _, (width, height) = CALIBRATIONS[name]
    view = rectifier.intrinsics
    angles = view_angles(view)
    assert angles.min() > 12.0
    assert angles.max() <= 50.1
    assert view.fx / view.fy == pytest.approx(k[0] / k[4])
    assert 0.7 * k[0] < view.fx <= k[0]
    assert view.width * view.height <= width * height
    rectified = rectifier.rectify(np.full((height, width, 3), 200, np.uint8))
    assert rectified.shape == (view.height, view.width, 3)
    assert rectified.min() == 200


@pytest.mark.parametrize("name", list(CALIBRATIONS))
def test_view_shows_what_the_models_formulas_say(name):
    rectifier, k = rectifier_of(name)
    _, distortion, model, (width, height) = CALIBRATIONS[name]
    view = rectifier.intrinsics
    v, u = np.mgrid[4 : view.height - 4 : 9, 4 : view.width - 4 : 11].reshape(2, -1)
    expected = projected(view.rays(np.stack([u, v], axis=1)), k, distortion, model)
    for axis, size in enumerate((width, height)):
        ramp = np.linspace(0.0, 255.0, size)
        image = np.broadcast_to(ramp if axis == 0 else ramp[:, None], (height, width))
        seen = rectifier.rectify(np.round(image).astype(np.uint8))[v, u] / 255.0 * (size - 1)
        # A grey level of the ramp is so many pixels; rounding the image and the result costs one level.
        np.testing.assert_allclose(seen, expected[:, axis], atol=1.2 * size / 255.0)


def test_a_wide_fisheye_keeps_a_hundred_degrees_around_its_axis():
    rectifier, _ = rectifier_of("fisheye_165_deg")
    np.testing.assert_allclose(view_angles(rectifier.intrinsics), 50.0, atol=0.2)
    assert rectifier.intrinsics.fx == pytest.approx(143.0)


def test_field_of_view_can_be_chosen():
    narrow, _ = rectifier_of("fisheye_165_deg", fov=70.0)
    np.testing.assert_allclose(view_angles(narrow.intrinsics), 35.0, atol=0.2)
    wide, _ = rectifier_of("fisheye_165_deg", fov=120.0)
    np.testing.assert_allclose(view_angles(wide.intrinsics), 60.0, atol=0.2)
    with pytest.raises(
        CalibrationError, match=r"rectified_fov is 120 deg, .* accepted is 0, which takes about"
    ):
        rectifier_of("euroc", fov=120.0)


@pytest.mark.parametrize(
    ("k", "distortion", "model", "message"),
    [
        # r (1 + k1 r^2) is largest at r = sqrt(-1 / (3 k1)): 0.913, where it is 0.609 (times 300 pixels).
        ([300.0, 300.0], [-0.4, 0.0, 0.0, 0.0, 0.0], "plumb_bob", "'plumb_bob' .* than 183 pixels .* 42 deg"),
        ([260.0, 260.0], [-0.35, 0.0, 0.0, 0.0], "plumb_bob", "folds back inside the image"),
        ([300.0, 300.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.3, 0.2, 0.1], "rational_polynomial", "folds back"),
        (
            [100.0, 100.0],
            [-0.3, 0.0, 0.0, 0.0],
            "equidistant",
            "'equidistant' .* folds back inside the image",
        ),
    ],
)
def test_models_that_fold_back_inside_the_image_are_refused_with_the_radius(k, distortion, model, message):
    with pytest.raises(CalibrationError, match=message):
        Rectifier([k[0], 0, 319.5, 0, k[1], 239.5, 0, 0, 1], distortion, model, WIDTH, HEIGHT)


def test_an_ideal_fisheye_is_named():
    rectifier, _ = rectifier_of("ideal_fisheye")
    (warning,) = rectifier.warnings
    assert "ideal fisheye" in warning
    assert rectifier_of("fisheye_165_deg")[0].warnings == ()


@pytest.mark.parametrize("name", ["fisheye", "kannala_brandt", "Kannala-Brandt4", "Equidistant"])
def test_other_names_of_the_equidistant_model_are_known(name):
    k, coefficients = [143.0, 0, 212.0, 0, 143.0, 200.0, 0, 0, 1], [-0.0069, 0.0424, -0.0403, 0.0073]
    expected = Rectifier(k, coefficients, "equidistant", 424, 400).intrinsics
    assert Rectifier(k, coefficients, name, 424, 400).intrinsics == expected


def test_a_region_of_interest_beside_the_axis_is_rectified_where_it_lies():
    (fx, _, cx, fy, cy), distortion, model, (width, height) = CALIBRATIONS["euroc"]
    window = SensorWindow(left=440, top=280, width=150, height=95, binning_x=2, binning_y=2)
    corner = Rectifier([fx, 0, cx, 0, fy, cy, 0, 0, 1], distortion, model, width, height, window=window)
    view = corner.intrinsics
    v, u = np.mgrid[2 : view.height - 2 : 7, 2 : view.width - 2 : 7].reshape(2, -1)
    full = projected(view.rays(np.stack([u, v], axis=1)), [fx, 0, cx, 0, fy, cy, 0, 0, 1], distortion, model)
    for axis, size in enumerate((150, 95)):
        ramp = np.arange(size, dtype=np.uint8)
        image = np.broadcast_to(ramp if axis == 0 else ramp[:, None], (95, 150)).copy()
        expected = (full[:, axis] - (440, 280)[axis]) / 2.0
        np.testing.assert_allclose(corner.rectify(image)[v, u], expected, atol=0.6)


def test_windows_of_an_undistorted_camera_divide_k_by_the_binning():
    window = SensorWindow(left=40, top=20, width=280, height=110, binning_x=2, binning_y=4)
    rectifier = Rectifier(K, [], "", WIDTH, HEIGHT, window=window)
    expected = Intrinsics(200.0, 101.25, 139.0, 54.0, 280, 110)
    assert rectifier.intrinsics == expected


@pytest.mark.parametrize("name", ["Plumb Bob", "plumb-bob", "radtan"])
def test_other_names_of_plumb_bob_are_known(name):
    expected = Rectifier(K, DISTORTIONS["plumb_bob"], "plumb_bob", WIDTH, HEIGHT).intrinsics
    assert Rectifier(K, DISTORTIONS["plumb_bob"], name, WIDTH, HEIGHT).intrinsics == expected


@pytest.mark.parametrize("count", [4, 5, 8])
def test_opencvs_models_are_told_by_the_number_of_coefficients(count):
    coefficients = [-0.2, 0.05, 0.0, 0.001, 0.01, 0.01, 0.0, 0.0][:count]
    first, second = (
        Rectifier(K, coefficients, model, WIDTH, HEIGHT) for model in ("plumb_bob", "rational_polynomial")
    )
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    assert first.intrinsics == second.intrinsics
    np.testing.assert_array_equal(first.rectify(image), second.rectify(image))


@pytest.mark.parametrize("model", ["double_sphere", "omni", "omnidirectional", "eucm", "thin_prism_fisheye"])
def test_models_that_are_not_supported_are_named_with_what_is(model):
    with pytest.raises(CalibrationError, match=f"'{model}' is not supported; calibrate with 'equidistant'"):
        Rectifier(K, [0.1, 0.2], model, WIDTH, HEIGHT)


def test_implausible_camera_matrices_are_refused():
    for k in ([1.0, 0, 0, 0, 1, 0, 0, 0, 1], [400.0, 0, 310, 0, 400.0, 2500, 0, 0, 1]):
        with pytest.raises(CalibrationError, match="of the camera matrix K"):
            Rectifier(k, [], "", WIDTH, HEIGHT)
    for k, words in (([0.0] * 9, "all zero"), ([400.0], "has 1 values"), ([np.nan] * 9, "not finite")):
        with pytest.raises(CalibrationError, match=words):
            Rectifier(k, [], "", WIDTH, HEIGHT)


@pytest.mark.parametrize("model", ["", "none", "plumb_bob", "Brown Conrady", "pinhole"])
def test_camera_without_distortion_passes_images_on(model):
    rectifier = Rectifier(K, [0.0] * 5, model, WIDTH, HEIGHT)
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    assert rectifier.rectify(image) is image
    np.testing.assert_allclose(rectifier.intrinsics.matrix.ravel(), K)


@pytest.mark.parametrize(
    ("distortion", "model", "message"),
    [
        ([float("nan"), 0, 0, 0], "plumb_bob", "not finite"),
        ([0.1, 0, 0], "plumb_bob", "3 coefficients"),
        ([0.1, 0, 0, 0], "kannala", "accepted are"),
        ([0.1, 0, 0, 0, 0], "", "names no distortion_model, but has 5 coefficients"),
    ],
)
def test_bad_distortion_is_refused_by_name(distortion, model, message):
    with pytest.raises(CalibrationError, match=message):
        Rectifier(K, distortion, model, WIDTH, HEIGHT)
