"""Images become frames of a pinhole camera; a calibration that cannot belong to them is refused."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from iup_pose_ros.camera_config import CameraConfig
from iup_pose_ros.errors import CalibrationError, ConfigurationError, ImageError
from iup_pose_ros.frame_builder import FrameBuilder, read_mask
from iup_pose_ros.stamps import epoch_seconds

K = np.array([300.0, 0, 160, 0, 310, 120, 0, 0, 1])
P = np.array([280.0, 0, 158, -28, 0, 280, 121, 0, 0, 0, 1, 0])
PIXELS = np.random.default_rng(0).integers(0, 255, (240, 320), dtype=np.uint8)
HEADER = SimpleNamespace(stamp=SimpleNamespace(sec=3, nanosec=500_000_000), frame_id="camera_optical")


def region(x_offset=0, y_offset=0, width=0, height=0):
    return SimpleNamespace(x_offset=x_offset, y_offset=y_offset, width=width, height=height)


def header(frame_id):
    return SimpleNamespace(stamp=HEADER.stamp, frame_id=frame_id)


def camera_info(**overrides):
    fields = {
        "k": K,
        "d": [-0.2, 0.05, 0.0, 0.0, 0.0],
        "distortion_model": "plumb_bob",
        "p": P,
        "width": 320,
        "height": 240,
        "header": HEADER,
        "binning_x": 0,
        "binning_y": 0,
        "roi": region(),
    }
    return SimpleNamespace(**{**fields, **overrides})


def raw_image(pixels=PIXELS):
    height, width = pixels.shape
    return SimpleNamespace(
        header=HEADER,
        height=height,
        width=width,
        encoding="mono8",
        is_bigendian=0,
        step=width,
        data=pixels.tobytes(),
    )


def compressed_image():
    return SimpleNamespace(header=HEADER, format="png", data=cv2.imencode(".png", PIXELS)[1].tobytes())


@pytest.mark.parametrize("compressed", [False, True])
def test_frame_has_pixels_stamp_and_camera_of_its_message(compressed):
    image = compressed_image() if compressed else raw_image()
    frame = FrameBuilder(epoch_seconds, compressed).build(image, camera_info(d=[]))
    np.testing.assert_array_equal(frame.image, PIXELS)
    assert (frame.stamp, frame.frame_id) == (3.5, "camera_optical")


def test_image_of_the_other_transport_is_refused():
    with pytest.raises(ImageError):
        FrameBuilder(epoch_seconds, compressed=True).build(
            SimpleNamespace(header=HEADER, format="mono8", data=PIXELS.tobytes()), camera_info()
        )


def test_stamp_of_a_refused_image_is_not_converted():
    stamps = []

    def to_seconds(stamp):
        stamps.append(stamp)
        return 0.0

    builder = FrameBuilder(to_seconds)
    with pytest.raises(CalibrationError):
        builder.build(raw_image(PIXELS[:100]), camera_info())
    assert stamps == []
    builder.build(raw_image(), camera_info())
    assert stamps == [HEADER.stamp]


def test_rectifier_is_made_once_per_calibration():
    builder = FrameBuilder(epoch_seconds)
    first = builder.rectifier(camera_info(), 320, 240)
    assert builder.rectifier(camera_info(), 320, 240) is first
    assert builder.rectifier(camera_info(d=[0.0]), 320, 240) is not first


def test_raw_images_use_k_and_d():
    builder = FrameBuilder(epoch_seconds)
    frame = builder.build(raw_image(), camera_info(d=[]))
    assert (frame.intrinsics.fx, frame.intrinsics.cy) == (300.0, 120.0)
    distorted = builder.build(raw_image(), camera_info())
    assert not np.array_equal(distorted.image, PIXELS)


def test_rectified_images_use_p_and_ignore_d():
    builder = FrameBuilder(epoch_seconds, config=CameraConfig(image_is_rectified=True))
    frame = builder.build(raw_image(), camera_info(d=[np.nan], distortion_model="odd"))
    intrinsics = frame.intrinsics
    assert (intrinsics.fx, intrinsics.cx, intrinsics.cy) == (280.0, 158.0, 121.0)
    np.testing.assert_array_equal(frame.image, PIXELS)


@pytest.mark.parametrize(
    ("is_rectified", "overrides", "words"),
    [
        (False, {"k": np.zeros(9), "width": 0, "height": 0}, "K is all zero"),
        (True, {"p": np.zeros(12)}, "P is all zero"),
        (False, {"width": 640, "height": 480}, "640x480 pixels, but the image has 320x240"),
        (False, {"d": [np.nan] * 5}, "not finite"),
        (False, {"distortion_model": "thin_prism"}, "thin_prism"),
    ],
)
def test_calibration_that_cannot_belong_to_the_image_is_refused(is_rectified, overrides, words):
    builder = FrameBuilder(epoch_seconds, config=CameraConfig(image_is_rectified=is_rectified))
    with pytest.raises(CalibrationError, match=words):
        builder.build(raw_image(), camera_info(**overrides))


def test_good_calibration_works_again_after_a_bad_one():
    builder = FrameBuilder(epoch_seconds)
    with pytest.raises(CalibrationError):
        builder.build(raw_image(), camera_info(d=[np.nan] * 5))
    assert builder.build(raw_image(), camera_info()).intrinsics.fx > 200.0


@pytest.mark.parametrize("frame_id", ["camera_depth_optical_frame", "/other"])
def test_camera_info_of_another_camera_is_refused_unless_allowed(frame_id):
    info = camera_info(header=header(frame_id))
    with pytest.raises(
        CalibrationError, match=r"has frame_id '\w+', but the image has 'camera_optical': .*allow_fr"
    ):
        FrameBuilder(epoch_seconds).build(raw_image(), info)
    allowed = FrameBuilder(epoch_seconds, config=CameraConfig(allow_frame_mismatch=True))
    assert allowed.build(raw_image(), info).frame_id == "camera_optical"


@pytest.mark.parametrize("frame_id", ["", "camera_optical", "/camera_optical"])
def test_names_that_are_empty_or_of_ros_1_are_no_other_camera(frame_id):
    image = raw_image()
    image.header = header("/camera_optical")
    frame = FrameBuilder(epoch_seconds).build(image, camera_info(header=header(frame_id)))
    assert frame.frame_id == "camera_optical"


@pytest.mark.parametrize("is_rectified", [False, True])
@pytest.mark.parametrize("binning", [(2, 2), (2, 1), (4, 3)])
def test_binned_images_divide_the_camera_matrix(binning, is_rectified):
    width, height = 640 // binning[0], 480 // binning[1]
    info = camera_info(d=[], width=640, height=480, binning_x=binning[0], binning_y=binning[1])
    pixels = np.zeros((height, width), np.uint8)
    config = CameraConfig(image_is_rectified=is_rectified)
    camera = FrameBuilder(epoch_seconds, config=config).build(raw_image(pixels), info).intrinsics
    matrix = P.reshape(3, 4) if is_rectified else K.reshape(3, 3)
    assert (camera.width, camera.height) == (width, height)
    np.testing.assert_allclose([camera.fx, camera.cx], matrix[0, [0, 2]] / binning[0])
    np.testing.assert_allclose([camera.fy, camera.cy], matrix[1, [1, 2]] / binning[1])


def test_regions_of_interest_move_the_principal_point():
    info = camera_info(d=[], width=640, height=480, roi=region(100, 60, 321, 240), binning_x=2, binning_y=2)
    for width in (160, 161):  # 321 pixels, binned
        camera = FrameBuilder(epoch_seconds).build(raw_image(PIXELS[:120, :width]), info).intrinsics
        assert (camera.fx, camera.fy, camera.cx, camera.cy) == (150.0, 155.0, 30.0, 30.0)


def test_drivers_that_adapt_k_themselves_and_report_binning_are_believed():
    info = camera_info(d=[], binning_x=2, binning_y=2, roi=region(8, 8, 600, 400))
    assert FrameBuilder(epoch_seconds).build(raw_image(), info).intrinsics.fx == 300.0


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"width": 640, "height": 480, "binning_x": 4, "binning_y": 4}, "640x480 pixels, binning 4x4, but"),
        ({"width": 640, "height": 480, "roi": region(0, 0, 400, 240)}, "region of interest 400x240, but"),
        (
            {"width": 400, "height": 300, "roi": region(200, 0, 320, 240)},
            r"320x240 at \(200, 0\), reaches beyond its image of 400x300",
        ),
    ],
)
def test_binning_and_region_that_do_not_explain_the_size_are_refused_by_name(overrides, words):
    with pytest.raises(CalibrationError, match=words):
        FrameBuilder(epoch_seconds).build(raw_image(), camera_info(**overrides))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"k": np.eye(3).ravel()}, "field of view of 179.3 deg"),
        ({"k": np.array([312.0, 0, 160, 0, 1.0, 120, 0, 0, 1])}, "fy = 1"),
        ({"k": np.array([300.0, 0, 0, 0, 300, 0, 0, 0, 1])}, "cx = 0 .* lies outside"),
        ({"k": np.array([1200.0, 0, 640, 0, 1200, 360, 0, 0, 1])}, "cx = 640 .* lies outside"),
    ],
)
def test_implausible_camera_matrices_are_refused(overrides, words):
    with pytest.raises(CalibrationError, match=words):
        FrameBuilder(epoch_seconds).build(raw_image(), camera_info(**overrides))


@pytest.mark.parametrize(
    "topic",
    [
        "/camera/image_rect",
        "/camera/image_rect_color/compressed",
        "/camera/infra1/image_rect_raw",
        "/zed/rgb/color/rect/image",
    ],
)
def test_rectified_images_with_distortion_are_doubted_aloud(topic):
    builder = FrameBuilder(epoch_seconds, topic=topic)
    builder.build(raw_image(), camera_info())
    (warning,) = builder.warnings
    assert f"the name of {topic} indicates rectified images" in warning
    assert "set image_is_rectified" in warning
    rectified = FrameBuilder(epoch_seconds, config=CameraConfig(image_is_rectified=True), topic=topic)
    rectified.build(raw_image(), camera_info())
    assert rectified.warnings == ()
    raw = FrameBuilder(epoch_seconds, topic="/camera/image_raw")
    raw.build(raw_image(), camera_info())
    assert raw.warnings == ()


def test_field_of_view_and_range_of_levels_are_those_of_the_settings():
    config = CameraConfig(rectified_fov=40.0, mono16_range="100,355")
    builder = FrameBuilder(epoch_seconds, config=config)
    deep = SimpleNamespace(
        header=HEADER, height=240, width=320, encoding="mono16", is_bigendian=0, step=640,
        data=(PIXELS.astype("<u2") + 100).tobytes(),
    )  # fmt: skip
    np.testing.assert_array_equal(builder.build(deep, camera_info(d=[])).image, PIXELS)
    camera = builder.build(raw_image(), camera_info()).intrinsics
    assert np.degrees(np.arctan((camera.cx + 0.5) / camera.fx)) == pytest.approx(20.0, abs=0.2)


def test_images_wider_than_the_setting_are_reduced():
    frame = FrameBuilder(epoch_seconds, config=CameraConfig(maximum_image_width=160)).build(
        raw_image(), camera_info(d=[])
    )
    assert frame.image.shape[:2] == (120, 160)
    assert (frame.intrinsics.width, frame.intrinsics.height) == (160, 120)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"maximum_image_width": 32}, "maximum_image_width is 32; 0 or at least 64 is accepted"),
        ({"rectified_fov": 5.0}, "rectified_fov is 5; 0 or 20 to 140 deg is accepted"),
        ({"mono16_range": "bright"}, "mono16_range is 'bright'; 'auto' or 'low,high'"),
        ({"mono16_range": "[30, 20]"}, "with low below high"),
        ({"mono16_range": "1.2.3,20"}, "with low below high"),
    ],
)
def test_settings_that_are_not_accepted_are_refused(settings, words):
    with pytest.raises(ConfigurationError, match=words):
        CameraConfig(**settings)


def mask_of(left, right):
    """Pixels of the columns left to right, exclusive, are ignored."""
    pixels = np.zeros((240, 320), np.uint8)
    pixels[:, left:right] = 1
    return pixels


def test_masks_of_topic_and_file_are_joined(tmp_path):
    file = tmp_path / "hood.png"
    cv2.imwrite(str(file), mask_of(0, 20))
    builder = FrameBuilder(epoch_seconds, config=CameraConfig(mask_file=str(file)))
    frame = builder.build(raw_image(), camera_info(d=[]), raw_image(mask_of(100, 160)))
    assert frame.mask is not None
    ignored = frame.mask > 0
    np.testing.assert_array_equal(ignored, (mask_of(0, 20) + mask_of(100, 160)) > 0)
    assert frame.masked_share == pytest.approx(80 / 320)
    assert builder.build(raw_image(), camera_info(d=[])).masked_share == pytest.approx(20 / 320)
    assert FrameBuilder(epoch_seconds).build(raw_image(), camera_info(d=[])).mask is None


def test_masks_are_undistorted_with_their_image():
    image = np.where(mask_of(60, 120) > 0, 255, 0).astype(np.uint8)
    frame = FrameBuilder(epoch_seconds).build(raw_image(image), camera_info(), raw_image(image))
    assert frame.mask is not None
    assert np.all(frame.mask[frame.image > 0] == 255)
    assert np.count_nonzero(frame.mask) < 1.1 * np.count_nonzero(frame.image > 0)


def test_features_keep_half_a_patch_away_from_masked_pixels():
    frame = FrameBuilder(epoch_seconds).build(raw_image(), camera_info(d=[]), raw_image(mask_of(100, 160)))
    points = np.array([[92.0, 50.0], [94.0, 50.0], [130.0, 50.0], [166.0, 50.0], [168.0, 50.0]])
    assert frame.are_usable(points).tolist() == [True, False, False, False, True]


@pytest.mark.parametrize("from_file", [False, True])
def test_a_mask_of_another_size_is_refused(tmp_path, from_file):
    file = tmp_path / "mask.png"
    cv2.imwrite(str(file), mask_of(0, 9)[:120])
    builder = FrameBuilder(epoch_seconds, config=CameraConfig(mask_file=str(file) if from_file else ""))
    mask = None if from_file else raw_image(mask_of(0, 9)[:120])
    with pytest.raises(ImageError, match=r"mask.* has 320x120 pixels, but the image has 320x240"):
        builder.build(raw_image(), camera_info(), mask)


def test_a_mask_that_is_not_mono8_is_refused():
    mask = raw_image(mask_of(0, 9))
    mask.encoding = "mono16"
    with pytest.raises(ImageError, match="mask has encoding 'mono16'; mono8"):
        FrameBuilder(epoch_seconds).build(raw_image(), camera_info(), mask)


def test_an_unreadable_mask_file_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="does not exist"):
        FrameBuilder(epoch_seconds, config=CameraConfig(mask_file=str(tmp_path / "no.png")))
    file = tmp_path / "text.png"
    file.write_text("no image")
    with pytest.raises(ConfigurationError, match="not an image"):
        read_mask(str(file))


def test_negative_stamps_are_refused():
    image = raw_image()
    image.header = SimpleNamespace(stamp=SimpleNamespace(sec=-5, nanosec=0), frame_id="camera_optical")
    with pytest.raises(ImageError, match="the stamp of the image is negative: -5 s"):
        FrameBuilder(epoch_seconds).build(image, camera_info())
