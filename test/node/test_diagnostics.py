"""/diagnostics tells at 1 Hz, in every state, how the node is; path and picture are only for who listens."""

from __future__ import annotations

import numpy as np
import pytest
from child_node import wait_until
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Path
from node_bench import BLACK, Drive, set_stamp, stamp_of
from rclpy.time import Time
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage

DIAGNOSTICS = "/diagnostics"
ODOMETRY = "/vo_node/odometry"


@pytest.fixture(scope="module")
def node(start_module_node):
    return start_module_node(
        parameters={
            "autostart": False,
            "assume_identity_mount": True,
            "input_timeout": 1.5,
            "base_farme": "chassis",
            "qos_overrides./image.subscription.depth": 2,
        }
    )


@pytest.fixture(scope="module")
def listener(bench, node):
    """The bench, which records the diagnostics of the node from the first one on."""
    bench.record(DIAGNOSTICS, DiagnosticArray)
    return bench


@pytest.fixture
def drive(listener):
    """A camera before the node, which is active and has taken no image yet."""
    listener.start_afresh()
    return Drive(listener)


def heard(bench, accept):
    """The status and values of the first diagnostics from now on that are accepted."""
    seen = len(bench.received(DIAGNOSTICS))

    def is_new(message):
        (status,) = message.status
        return (
            bench.received(DIAGNOSTICS).index(message) >= seen
            and status.name == "vo_node: visual odometry"
            and accept(status, values_of(status))
        )

    (status,) = bench.wait_for(DIAGNOSTICS, is_new).status
    return status, values_of(status)


def values_of(status):
    return {item.key: item.value for item in status.values}


def test_node_that_does_not_work_warns(bench, listener):
    bench.bring_to("unconfigured")
    status, values = heard(bench, lambda status, values: values["life cycle"] == "unconfigured")
    assert (status.level, status.message) == (DiagnosticStatus.WARN, "the node is not configured")
    assert values["estimator"] == "none"
    assert float(values["memory [MB]"]) > 10.0


def test_misspelt_parameter_is_named_with_the_nearest_one(bench, listener, node):
    words = "parameter 'base_farme' does not exist; did you mean 'base_frame'?"
    assert words in node.log
    assert "qos_overrides" not in node.log
    _, values = heard(bench, lambda status, values: True)
    assert words in values["warnings"]


def test_node_without_images_warns_that_it_waits(bench, listener):
    bench.bring_to("unconfigured")
    bench.bring_to("inactive")
    assert heard(bench, lambda status, values: values["life cycle"] == "inactive")[0].message == (
        "the node is inactive"
    )
    assert bench.change_state("activate")
    bench.wait_for_node()
    status, _ = heard(bench, lambda status, values: "no image on /image" in status.message)
    assert status.level == DiagnosticStatus.WARN


def test_tracking_node_gives_its_figures(bench, drive):
    states = drive.show(20)
    status, values = heard(bench, lambda status, values: values["frames processed"] == "20")
    last = states[-1]
    assert status.message.startswith("TRACKING")
    assert (status.hardware_id, values["estimator"], values["device"]) == (
        "camera_optical",
        "epipolar_klt",
        "cpu",
    )
    assert (values["frames received"], values["keyframes"]) == ("20", str(last.keyframes))
    assert (values["frames dropped: worker busy"], values["frames dropped: invalid"]) == ("0", "0")
    assert 0.0 < float(values["inference p50 [ms]"]) <= float(values["inference p99 [ms]"]) < 5000.0
    assert float(values["frame age [s]"]) > 1e6
    # Rates are those of one second each, which need not hold a keyframe.
    every = [values_of(message.status[0]) for message in bench.received(DIAGNOSTICS)]
    every = [values for values in every if values["life cycle"] == "active"]
    image_rates, odometry_rates = (
        [float(values[f"{name} rate [Hz]"]) for values in every] for name in ("image", "odometry")
    )
    assert max(image_rates) > 1.0
    assert 0.0 < sum(odometry_rates) < sum(image_rates)


def test_another_owner_of_the_transform_is_named_once_in_the_log(bench, drive, node):
    assert "broadcasts" not in node.log
    other = bench.node.create_publisher(TFMessage, "/tf", 10)
    transform = TransformStamped(child_frame_id="base_link")
    transform.header.frame_id = "odom"
    words = "node /bench broadcasts odom -> base_link, and this node odom -> base_link"
    drive.show(1)

    def broadcast():
        set_stamp(transform, transform.header.stamp.sec * 10**9 + 10**9)
        other.publish(TFMessage(transforms=[transform]))

    def named():
        # Again and again, as owners do: the first may come before the node hears or can name this one.
        broadcast()
        return words in node.log

    wait_until(named, 30.0, lambda: f"not in the log: {node.log}")
    for _ in range(5):
        broadcast()
    status, _ = heard(bench, lambda status, values: words in values["warnings"])
    assert status.level == DiagnosticStatus.WARN
    assert node.log.count(words) == 1
    bench.node.destroy_publisher(other)


def test_own_transforms_are_not_taken_for_those_of_another(bench, drive):
    heard(bench, lambda status, values: "broadcasts" not in values["warnings"])
    drive.show(12)
    _, values = heard(bench, lambda status, values: True)
    assert "broadcasts" not in values["warnings"]


def test_lost_node_is_an_error_and_drops_are_told_apart(bench, drive):
    drive.show(8)
    drive.show(4, BLACK)  # the last three repeat the pixels of the first
    image, info = drive.messages()
    image.encoding = "yuv411"
    bench.show(image, info)
    status, values = heard(bench, lambda status, values: values["frames dropped: invalid"] == "4")
    assert status.level == DiagnosticStatus.ERROR
    assert (values["tracking state"], values["frames dropped: worker busy"]) == ("LOST", "0")
    assert "yuv411" in values["reason"]


def test_path_is_published_only_while_someone_listens_and_is_bounded(bench, drive):
    """Its poses are those of the odometry at the latest keyframes."""
    assert bench.set_parameters(path_length=3)[0].successful
    subscription = bench.record("/vo_node/path", Path)
    wait_until(lambda: bench.node.count_publishers("/vo_node/path") == 1, 10.0, lambda: "no path")
    bench.clear()
    drive.show(30)
    keyframes = [message.header.stamp for message in bench.received("/vo_node/keyframe_edge")]
    path = bench.wait_for("/vo_node/path", lambda message: message.header.stamp == keyframes[-1])
    assert path.header.frame_id == "odom"
    assert len(path.poses) == 3
    odometry = [(message.header.stamp, message.pose.pose) for message in bench.received(ODOMETRY)]
    expected = [(stamp, pose) for stamp, pose in odometry if stamp in keyframes[-3:]]
    assert [(item.header.stamp, item.pose) for item in path.poses] == expected
    bench.node.destroy_subscription(subscription)


def test_debug_image_shows_the_last_image_while_someone_looks(bench, drive):
    subscription = bench.record("/vo_node/debug_image", Image, depth=5)
    wait_until(lambda: bench.node.count_publishers("/vo_node/debug_image") == 1, 10.0, lambda: "no picture")

    def pictured():
        drive.show(1)
        return bench.received("/vo_node/debug_image") != []

    wait_until(pictured, 30.0, lambda: "no debug image")
    last = stamp_of(drive.show(1)[-1])
    picture = bench.wait_for("/vo_node/debug_image", lambda message: stamp_of(message) == last)
    assert (picture.encoding, picture.width, picture.height, picture.step) == ("rgb8", 320, 240, 960)
    assert len(picture.data) == 320 * 240 * 3
    assert len(set(bytes(picture.data))) > 20
    bench.node.destroy_subscription(subscription)


def test_silence_after_images_is_a_warning(bench, drive):
    drive.show(8)
    status, values = heard(bench, lambda status, values: "no image for" in status.message)
    assert status.level == DiagnosticStatus.WARN
    assert float(values["seconds since last image"]) >= 1.5  # the timeout, to one digit
    assert float(values["image rate [Hz]"]) == 0.0


def test_diagnostics_come_once_per_second(bench, listener):
    """Intervals by the node's own stamps; their median, as a busy machine delays single ones."""
    bench.clear()
    wait_until(lambda: len(bench.received(DIAGNOSTICS)) >= 8, 60.0, lambda: "the node gives no diagnostics")
    stamps = [Time.from_msg(message.header.stamp).nanoseconds for message in bench.received(DIAGNOSTICS)]
    assert np.median(np.diff(stamps)) * 1e-9 == pytest.approx(1.0, abs=0.1)
