"""Any depth image, mask, range, wheel odometry and IMU message gives finite values or an error."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest
from fuzzing import Limits, camera_info, check_frame, damaged, fuzz, header, raw
from hypothesis import given
from hypothesis import strategies as st

from iup_pose_ros import images
from iup_pose_ros.frame_builder import FrameBuilder
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.node.sensor_inputs import ImuInput, WheelOdometry
from iup_pose_ros.odometry import MetricSensors, OdometryConfig, WheelHistory
from iup_pose_ros.odometry.metric_scale import scale_source
from iup_pose_ros.odometry.scaled_step import Interval
from iup_pose_ros.odometry.scene_sensors import DepthHistory, MessageHistory, RangeHistory
from iup_pose_ros.odometry.track_geometry import TrackedRays
from iup_pose_ros.odometry.wheels import GyroHistory
from iup_pose_ros.stamps import epoch_seconds, nanoseconds
from iup_pose_ros.types import Matches, RelativePose

WIDTH, HEIGHT = 48, 32
SIDE = 1024  # of the largest depth image that these tests accept
STAMP = nanoseconds(header().stamp)
T_PREV_CURR = Pose(np.eye(3), np.array([1.0, 0.0, 0.0]))
any_float = st.one_of(
    st.floats(), st.floats(-10.0, 100.0), st.sampled_from((0.0, 1e-45, 1e-30, 1e-6, 1e6, 1e30, 3e38))
)


@pytest.fixture(scope="module", autouse=True)
def small_maximum():
    """The largest file is of a megapixel here, so that a larger one shows in the memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "MAX_FILE_PIXELS", SIDE * SIDE)
        yield


@pytest.fixture(scope="module")
def limits():
    """Limits of the memory, from the largest accepted depth image in metres."""
    DepthHistory(MessageHistory("depth image"), 0.1, lambda _: STAMP, builder().undistorted_depth)
    return Limits(SIDE * SIDE * 4)


def builder():
    """Builder that has seen an image, whose size a depth image must have."""
    frames = FrameBuilder(epoch_seconds)
    frames.build(raw("mono8", WIDTH, HEIGHT, WIDTH, bytes(WIDTH * HEIGHT)), pinhole())
    return frames


def pinhole():
    """camera_info without distortion, so that the undistorted image has the size of the image."""
    info = camera_info(WIDTH, HEIGHT)
    info.d = []
    return info


FRAMES = builder()


def holding(message, what):
    """History of one message."""
    history = MessageHistory(what)
    history.add(message)
    return history


def depths(message):
    """Depth images of one message."""
    return DepthHistory(holding(message, "depth image"), 0.1, lambda _: STAMP, FRAMES.undistorted_depth)


def check_depth(image):
    if image is None:
        return
    assert image.values.shape == (HEIGHT, WIDTH)
    known = image.values[np.isfinite(image.values)]
    assert np.all((known >= 0.001) & (known <= 1e4))


@st.composite
def depth_images(draw):
    """A depth image as a driver might send it: any numbers, now and then of another size."""
    encoding = draw(st.sampled_from(("16UC1", "mono16", "32FC1")) | st.text(max_size=8))
    kind = np.float32 if encoding == "32FC1" else np.uint16
    width = draw(st.just(WIDTH) | st.integers(0, 2**32 - 1))
    height = draw(st.just(HEIGHT) | st.integers(0, 2**32 - 1))
    values = draw(st.lists(any_float, min_size=1, max_size=8))
    with np.errstate(over="ignore", invalid="ignore"):
        row = np.resize(np.array(values), WIDTH).astype(kind)
    data = np.tile(row, HEIGHT).tobytes()[: draw(st.none() | st.integers(0, 4 * WIDTH * HEIGHT))]
    step = draw(st.just(row.nbytes) | st.integers(0, 400))
    return raw(encoding, width, height, step, data, draw(st.integers(0, 2)))


def test_any_depth_image_is_used_or_refused(limits):
    @fuzz(2_000, share=0.02)
    @given(message=depth_images())
    def check(message):
        check_depth(limits.check(lambda: depths(message).at(0.0)))

    check()


def compressed_depth_files():
    """Files of 16 bits as compressedDepth and as plain PNG, and some that are neither."""
    values = np.arange(WIDTH * HEIGHT, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 40
    right = cv2.imencode(".png", values)[1].tobytes()
    grey = cv2.imencode(".png", (values >> 8).astype(np.uint8))[1].tobytes()
    large = cv2.imencode(".png", np.zeros((SIDE, SIDE + 1), np.uint16))[1].tobytes()
    return [right, grey, large, cv2.imencode(".jpg", np.zeros((HEIGHT, WIDTH), np.uint8))[1].tobytes()]


def quantised(pair):
    """Header of compressedDepth with two parameters of the quantisation."""
    with np.errstate(over="ignore"):
        return bytes(4) + np.array(pair, dtype="<f4").tobytes()


def test_any_compressed_depth_image_is_used_or_refused(limits):
    formats = ("16UC1; compressedDepth png", "32FC1; compressedDepth png", "32FC1; compressedDepth rvl", "")
    quantisation = st.one_of(
        st.tuples(any_float, any_float).map(quantised),
        st.binary(max_size=12),
    )

    @fuzz(2_000, share=0.02)
    @given(
        format=st.sampled_from(formats) | st.text(max_size=8),
        begin=quantisation,
        file=st.sampled_from(compressed_depth_files()) | damaged(compressed_depth_files()),
    )
    def check(format, begin, file):
        message = SimpleNamespace(header=header(), format=format, data=begin + file)
        check_depth(limits.check(lambda: depths(message).at(0.0)))

    check()


masks = st.builds(
    raw,
    st.sampled_from(("mono8", "8UC1", "mono16", "rgb8")) | st.text(max_size=6),
    st.just(WIDTH) | st.integers(0, 2**32 - 1),
    st.just(HEIGHT) | st.integers(0, 2**32 - 1),
    st.just(WIDTH) | st.integers(0, 400),
    st.binary(max_size=64).map(lambda fill: (fill * 400)[: WIDTH * HEIGHT]) | st.binary(max_size=99),
)


def test_any_mask_is_used_or_refused(limits):
    image = raw("mono8", WIDTH, HEIGHT, WIDTH, bytes(range(256)) * 6)

    @fuzz(1_000, share=0.03)
    @given(mask=masks)
    def check(mask):
        frame = limits.check(
            lambda: FrameBuilder(epoch_seconds).build(image, camera_info(WIDTH, HEIGHT), mask)
        )
        check_frame(frame)
        if frame is not None:
            assert set(np.unique(frame.mask)) <= {0, 255}
            assert 0.0 <= frame.masked_share <= 1.0

    check()


ranges = st.builds(
    SimpleNamespace,
    header=st.builds(header, st.text(max_size=4)),
    range=any_float,
    min_range=st.just(0.1) | any_float,
    max_range=st.just(10.0) | any_float,
    field_of_view=st.just(0.05) | any_float,
)


def range_readings(message):
    """Ranges of one message of a sensor beside the camera that looks in its direction."""
    mount = Pose(np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]), np.array([0.1, 0.0, 0.0]))
    return RangeHistory(holding(message, "range"), 0.1, lambda _: STAMP, lambda frame, stamp: mount)


def test_any_range_is_used_or_refused(limits):
    @fuzz(2_000, share=0.02)
    @given(message=ranges)
    def check(message):
        reading = limits.check(lambda: range_readings(message).at(0.0))
        if reading is not None:
            assert np.isfinite(reading.point).all()
            assert 0.0 <= reading.field_of_view <= np.pi
            assert 0.0 < reading.relative_sigma < np.inf

    check()


def tracks():
    """Tracks of a wavy wall about 5 m away while the camera moves 1 m to the right."""
    info = FRAMES.rectifier(pinhole(), WIDTH, HEIGHT).intrinsics
    pixels = np.random.default_rng(0).uniform([3.0, 3.0], [WIDTH - 4.0, HEIGHT - 4.0], (200, 2))
    rays = info.rays(pixels)
    points = rays * (5.0 + np.sin(3.0 * rays[:, :1]))
    seen = info.project(T_PREV_CURR.inverse().apply(points))
    return TrackedRays.of(np.arange(200, dtype=np.int64), Matches(pixels, seen), info)


@pytest.mark.parametrize("source", ["depth", "range"])
def test_no_depth_image_and_no_range_makes_a_step_that_is_no_pose(limits, source):
    rays, interval = tracks(), Interval(0.0, 0.1)
    covariance = np.diag(np.repeat([0.01**2, 0.001**2], 3))
    relative = RelativePose(T_PREV_CURR, covariance, np.full(3, 0.001), 0.01, False, "known")
    sensors = {
        "depth": lambda message: MetricSensors(depth=depths(message)),
        "range": lambda message: MetricSensors(ranges=range_readings(message)),
    }

    def scaled_step(message):
        scale = scale_source(OdometryConfig(scale_source=source), sensors[source](message))
        scale.check(relative, rays, interval)
        return scale.step(relative, rays, interval)

    @fuzz(1_000, share=0.03)
    @given(message=depth_images() if source == "depth" else ranges)
    def check(message):
        step = limits.check(lambda: scaled_step(message))
        if step is not None:
            length = np.linalg.norm(step.camera.pose.translation)
            assert 1e-6 < length < 1e6
            np.linalg.cholesky(step.camera.covariance)

    check()


def fields(names, value):
    """An object with a number in each field."""
    return st.builds(SimpleNamespace, **dict.fromkeys(names, value))


def stamped(sec, nanosec):
    return SimpleNamespace(frame_id="base", stamp=SimpleNamespace(sec=sec, nanosec=nanosec))


# Mostly within one second, so that motion between them is asked for.
headers = st.builds(
    stamped, st.just(1), st.integers(0, 4).map(lambda fifth: fifth * 200_000_000)
) | st.builds(stamped, st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1))
rotations = st.sampled_from(((0.0, 0.0, 0.0, 1.0), (0.6, 0.0, 0.0, 0.8), (1.0, 1.0, 0.0, 0.0))) | st.tuples(
    *4 * (any_float,)
)


def wheel_odometry(header, position, rotation, variance):
    orientation = SimpleNamespace(**dict(zip("xyzw", rotation, strict=True)))
    pose = SimpleNamespace(pose=SimpleNamespace(position=position, orientation=orientation))
    twist = SimpleNamespace(covariance=[variance] * 36)
    return SimpleNamespace(header=header, child_frame_id="base", pose=pose, twist=twist)


def imu(header, rate, variance):
    return SimpleNamespace(header=header, angular_velocity=rate, angular_velocity_covariance=[variance] * 9)


wheel_messages = st.builds(wheel_odometry, headers, fields("xyz", any_float), rotations, any_float)
imu_messages = st.builds(imu, headers, fields("xyz", any_float), any_float)


@pytest.mark.parametrize(
    ("create", "kind", "messages"),
    [
        (
            lambda node, history: WheelOdometry(node, "base", history)._on_odometry,
            WheelHistory,
            wheel_messages,
        ),
        (lambda node, history: ImuInput(node, history)._on_imu, GyroHistory, imu_messages),
    ],
    ids=["wheel odometry", "imu"],
)
def test_any_message_of_motion_is_used_or_ignored(limits, create, kind, messages):
    @fuzz(1_000, share=0.03)
    @given(received=st.lists(messages, min_size=1, max_size=6))
    def check(received):
        history = kind()
        callback = create(MagicMock(), history)
        for message in received:
            limits.check(lambda message=message: callback(message))
        assert np.all((history.rate_variances >= 0.0) & (history.rate_variances < np.inf))
        for end in range(5):
            motion = limits.check(lambda end=end: history.between(10**9, 10**9 + end * 200_000_000))
            if motion is not None:
                assert np.isfinite(motion.matrix).all()
                np.testing.assert_allclose(motion.rotation @ motion.rotation.T, np.eye(3), atol=1e-6)

    check()


def test_a_turn_that_no_gyroscope_measures_is_ignored():
    history, node = GyroHistory(), MagicMock()
    callback = ImuInput(node, history)._on_imu
    for fifth, rate in enumerate((0.1, 1e300, 0.1)):
        callback(imu(stamped(1, fifth * 200_000_000), SimpleNamespace(x=rate, y=0.0, z=0.0), 1e-6))
    turn = history.between(10**9, 1_400_000_000).rotation
    assert np.arcsin(turn[2, 1]) == pytest.approx(0.04)
    assert "1e+300" in node.get_logger().warning.call_args[0][0]
