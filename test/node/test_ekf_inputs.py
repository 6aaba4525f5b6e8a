"""The filter takes what it gets in silence: so its configurations and the node's twist are checked here."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from moving_texture import HEIGHT, WIDTH, K
from node_bench import camera_info, image_message, stamp_of

from iup_pose_ros.demo_scene.planes import PlaneScene, TexturedPlane, render
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.node.settings import PARAMETERS
from iup_pose_ros.stamps import nanoseconds

CONFIG = Path(__file__).resolve().parents[2] / "config"
FILES = ("ekf_metric.yaml", "ekf_rotation_only.yaml")
# Order of robot_localization's state.
STATE = (
    *("x", "y", "z", "roll", "pitch", "yaw", "vx", "vy", "vz"),
    *("vroll", "vpitch", "vyaw", "ax", "ay", "az"),
)
FUSED = {
    "ekf_metric.yaml": {
        "twist0": {"vx", "vy", "vz", "vroll", "vpitch", "vyaw"},
        "odom0": {"vx", "vy", "vyaw"},
    },
    "ekf_rotation_only.yaml": {"twist0": {"vroll", "vpitch", "vyaw"}, "odom0": {"vx", "vy"}},
}
# Parameters of ekf_node; a name that it does not know would be ignored without a word.
KNOWN = {
    *(
        "frequency",
        "sensor_timeout",
        "two_d_mode",
        "smooth_lagged_data",
        "history_length",
        "reset_on_time_jump",
        "process_noise_covariance",
    ),
    *("publish_tf", "map_frame", "odom_frame", "base_link_frame", "world_frame"),
}
KNOWN_OF_INPUT = r"(twist|odom)\d(_config|_queue_size)?"
# The filter raises smaller variances to this one.
LEAST_VARIANCE = 1e-9

# A camera half a metre ahead of the base, which turns on the spot.
LEVER = 0.5
MOUNT = Pose.from_quaternion(np.array([-0.5, 0.5, -0.5, 0.5]), np.array([LEVER, 0.0, 0.0]))
TURN, PERIOD, FRAMES = 0.04, 100_000_000, 14
CHORD = 2.0 * LEVER * np.sin(TURN / 2.0)
START = 1_700_000_000_000_000_000


def parameters(name):
    return yaml.safe_load((CONFIG / name).read_text())["/**"]["ros__parameters"]


@pytest.mark.parametrize("name", FILES)
def test_the_filter_knows_every_parameter(name):
    unknown = {key for key in parameters(name) if key not in KNOWN and not re.fullmatch(KNOWN_OF_INPUT, key)}
    assert unknown == set()


@pytest.mark.parametrize("name", FILES)
def test_exactly_the_velocities_that_are_known_are_fused(name):
    values = parameters(name)
    fused = {}
    for key in (key for key in values if re.fullmatch(r"[a-z]+\d", key)):
        flags = values[f"{key}_config"]
        assert len(flags) == len(STATE)
        assert {type(flag) for flag in flags} == {bool}
        fused[key] = {variable for variable, flag in zip(STATE, flags, strict=True) if flag}
    assert fused == FUSED[name]


@pytest.mark.parametrize("name", FILES)
def test_every_direction_of_the_state_is_observed(name):
    """A velocity that nothing measures has a variance that grows without bound."""
    values = parameters(name)
    flat = {"z", "vz", "roll", "pitch", "vroll", "vpitch"} if values["two_d_mode"] else set()
    observed = set().union(*FUSED[name].values())
    assert {"vx", "vy", "vz", "vroll", "vpitch", "vyaw"} - observed <= flat


@pytest.mark.parametrize("name", FILES)
def test_the_filter_owns_the_transform_between_the_frames_of_the_node(name):
    values = parameters(name)
    assert values["publish_tf"] is True
    assert values["world_frame"] == values["odom_frame"] == PARAMETERS["odom_frame"].default
    assert values["base_link_frame"] == PARAMETERS["base_frame"].default


@pytest.mark.parametrize("name", FILES)
def test_late_images_are_fused_at_their_time(name):
    values = parameters(name)
    assert values["smooth_lagged_data"] is True
    assert values["history_length"] >= 3.0  # longer than the node takes for an image on a slow machine


def room():
    """A box around the base, not too far away, every wall covered with smooth noise of its own."""
    rng = np.random.default_rng(17)
    x, y, z = np.eye(3)

    def wall(centre, half_u, half_v):
        noise = cv2.GaussianBlur(rng.uniform(0, 255, (512, 512, 3)), (0, 0), 2.0)
        texture = np.asarray(255.0 * (noise - noise.min()) / np.ptp(noise), dtype=np.uint8)
        return TexturedPlane(centre, half_u, half_v, texture)

    walls = [wall(1.6 * x, 1.4 * y, z), wall(-1.6 * x, 1.4 * y, z), wall(1.4 * y, 1.6 * x, z)]
    pillar = wall(1.2 * x + 0.5 * y, 0.15 * y, z)
    floor, ceiling = wall(-0.7 * z, 1.6 * x, 1.4 * y), wall(0.9 * z, 1.6 * x, 1.4 * y)
    return PlaneScene.from_planes([*walls, pillar, floor, ceiling])


def views():
    """What the camera sees while the base turns left by TURN per image, uint8 (FRAMES, H, W, 3)."""
    poses = [
        Pose(so3.exp(np.array([0.0, 0.0, TURN * index])), np.zeros(3)) @ MOUNT for index in range(FRAMES)
    ]
    cameras = torch.from_numpy(np.broadcast_to(np.reshape(K, (3, 3)), (FRAMES, 3, 3)).copy())
    images = render(
        room(), cameras, torch.from_numpy(np.stack([pose.matrix for pose in poses])), WIDTH, HEIGHT
    )
    return (255.0 * images.image).round().byte().permute(0, 2, 3, 1).numpy()


@pytest.fixture(scope="module")
def turn(bench, start_module_node):
    """The bench after the node has seen the base turn on the spot, in steps of known length."""
    start_module_node(
        parameters={
            "scale_source": "fixed",
            "fixed_step_length": CHORD,
            "keyframe_rotation": TURN / 2.0,
            "publish_tf": False,
        }
    )
    bench.mount_camera(MOUNT.quaternion, MOUNT.translation)
    bench.wait_for_node()
    for index, image in enumerate(views()):
        stamp = START + index * PERIOD
        bench.show(image_message(image, stamp), camera_info(stamp))
    middle = nanoseconds(bench.received("/vo_node/keyframe_edge")[-1].header.stamp) - PERIOD // 2
    bench.wait_for("/vo_node/twist", lambda message: stamp_of(message) == middle)
    assert len(bench.received("/vo_node/twist")) == FRAMES - 1
    return bench


def twists(bench):
    """Velocities (N, 6), linear first, and their covariances (N, 6, 6)."""
    messages = [message.twist for message in bench.received("/vo_node/twist")]
    values = [
        [getattr(vector, axis) for vector in (item.twist.linear, item.twist.angular) for axis in "xyz"]
        for item in messages
    ]
    return np.array(values), np.array([np.reshape(item.covariance, (6, 6)) for item in messages])


@pytest.mark.parametrize("name", FILES)
def test_the_topic_exists_with_the_type_that_the_input_needs(turn, name):
    topics = dict(turn.node.get_topic_names_and_types())
    assert topics[f"/{parameters(name)['twist0']}"] == ["geometry_msgs/msg/TwistWithCovarianceStamped"]


def test_the_twist_is_in_the_frame_that_the_filter_estimates(turn):
    frames = {message.header.frame_id for message in turn.received("/vo_node/twist")}
    assert frames == {parameters(name)["base_link_frame"] for name in FILES}


def test_without_publish_tf_the_node_broadcasts_nothing(turn):
    assert turn.received("/tf") == []
    assert "vo_node" not in {info.node_name for info in turn.node.get_publishers_info_by_topic("/tf")}


def test_covariances_are_finite_symmetric_and_above_the_filters_floor(turn):
    for covariance in twists(turn)[1]:
        assert np.isfinite(covariance).all()
        np.testing.assert_allclose(covariance, covariance.T, rtol=1e-9)
        assert np.linalg.eigvalsh(covariance).min() > LEAST_VARIANCE


def test_the_twists_covariance_is_that_of_the_step_per_second(turn):
    for edge, covariance in zip(turn.received("/vo_node/keyframe_edge"), twists(turn)[1], strict=True):
        seconds = (nanoseconds(edge.header.stamp) - nanoseconds(edge.previous_stamp)) * 1e-9
        of_step = np.reshape(edge.pose.covariance, (6, 6))
        for block in (slice(0, 3), slice(3, 6)):
            expected = np.linalg.eigvalsh(of_step[block, block]) / seconds**2
            np.testing.assert_allclose(np.linalg.eigvalsh(covariance[block, block]), expected, rtol=1e-6)


def test_a_base_that_turns_on_the_spot_does_not_travel_though_its_camera_does(turn):
    values, covariances = twists(turn)
    speed_of_camera = CHORD / (PERIOD * 1e-9)
    for value, covariance in zip(values, covariances, strict=True):
        linear, block = value[:3], covariance[:3, :3]
        assert linear @ np.linalg.solve(block, linear) < 4.0**2
        assert np.linalg.norm(linear) < 0.25 * speed_of_camera
        assert np.sqrt(np.trace(block)) < speed_of_camera


def test_the_turn_is_measured_about_the_vertical_axis_within_its_sigma(turn):
    values, covariances = twists(turn)
    truth = np.array([0.0, 0.0, TURN / (PERIOD * 1e-9)])
    for value, covariance in zip(values, covariances, strict=True):
        error, block = value[3:] - truth, covariance[3:, 3:]
        assert error @ np.linalg.solve(block, error) < 5.0**2
        assert np.linalg.norm(error) < 0.05 * truth[2]


def test_what_the_filter_would_integrate_is_the_turn(turn):
    values, _ = twists(turn)
    yaw = values[:, 5].sum() * PERIOD * 1e-9
    assert abs(yaw - (FRAMES - 1) * TURN) < 0.01 * FRAMES * TURN
