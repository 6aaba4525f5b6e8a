"""`iup-pose evaluate bag --params-file`: the node's parameters, with the sensors of a rendered recording."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rendered_flight as flights
import torch
import yaml
from rich.console import Console
from rosbags.rosbag2 import StoragePlugin, Writer
from typer.testing import CliRunner, Result

from iup_pose_ros.bags import messages
from iup_pose_ros.bags.messages import CameraCalibration
from iup_pose_ros.bags.topics import SensorTopics
from iup_pose_ros.camera_config import CameraConfig
from iup_pose_ros.cli import app
from iup_pose_ros.commands.node_options import node_config
from iup_pose_ros.demo_scene.planes import render
from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.evaluation.runs.evaluated_run import EvaluatedRun
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.node.params_file import read_params_file
from iup_pose_ros.node.settings import PARAMETERS
from iup_pose_ros.odometry.wheels import interpolated
from iup_pose_ros.replay.bag_evaluation import BagEvaluationOptions, TruthSource, run_evaluation

ROOT = Path(__file__).resolve().parents[2]
ESTIMATOR = "epipolar_klt"
FRAMES = 24
# Images that are nearly black in the recording with a loss.
DARK = slice(12, 17)
WIDTH, HEIGHT = flights.WIDTH, flights.HEIGHT
CAMERA = Intrinsics(flights.FOCAL, flights.FOCAL, WIDTH / 2 - 0.5, HEIGHT / 2 - 0.5, WIDTH, HEIGHT)
MOUNT = flights.EXTRINSICS.T_base_camera
# The rangefinder's x axis is the optical axis.
T_CAMERA_RANGE = Pose(so3.exp(np.array([0.0, -np.pi / 2.0, 0.0])), np.zeros(3))
TYPES = messages.typestore().types
NO_TOPICS = SensorTopics()
KINDS = {
    "/tf_static": messages.TF_MESSAGE,
    "/camera/camera_info": messages.CAMERA_INFO,
    "/camera/image": messages.IMAGE,
    "/depth/image": messages.IMAGE,
    "/depth/image/compressedDepth": messages.COMPRESSED_IMAGE,
    "/ground_truth": messages.POSE_STAMPED,
    "/range": "sensor_msgs/msg/Range",
    "/wheels": "nav_msgs/msg/Odometry",
    "/imu": "sensor_msgs/msg/Imu",
}


def odometry_message(T_odom_base: Pose, stamp: int) -> Any:
    pose = messages.pose_message(T_odom_base, stamp, "odom")
    zero = TYPES["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0)
    covariance = np.zeros(36)
    return TYPES["nav_msgs/msg/Odometry"](
        header=pose.header,
        child_frame_id="base_link",
        pose=TYPES["geometry_msgs/msg/PoseWithCovariance"](pose=pose.pose, covariance=covariance),
        twist=TYPES["geometry_msgs/msg/TwistWithCovariance"](
            twist=TYPES["geometry_msgs/msg/Twist"](linear=zero, angular=zero), covariance=covariance
        ),
    )


def imu_message(rate: np.ndarray, stamp: int) -> Any:
    vector, none = TYPES["geometry_msgs/msg/Vector3"], np.zeros(9)
    return TYPES["sensor_msgs/msg/Imu"](
        header=messages.header(stamp, "base_link"),
        orientation=TYPES["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0),
        orientation_covariance=none,
        angular_velocity=vector(*rate.tolist()),
        angular_velocity_covariance=none,
        linear_acceleration=vector(x=0.0, y=0.0, z=0.0),
        linear_acceleration_covariance=none,
    )


def depth_messages(metres: np.ndarray, stamp: int) -> dict[str, Any]:
    """The depths in millimetres as Image and as CompressedImage, with holes."""
    values = np.round(1000.0 * metres).astype(np.uint16)
    values[::7, ::5] = 0
    image = messages.image_message(np.zeros((HEIGHT, WIDTH), np.uint8), stamp, "camera_optical")
    image.encoding, image.step, image.data = "16UC1", 2 * WIDTH, values.view(np.uint8).ravel()
    png = struct.pack("<iff", 0, 0.0, 0.0) + cv2.imencode(".png", values)[1].tobytes()
    compressed = messages.compressed_image_message(png, "16UC1; compressedDepth png", stamp, "camera_optical")
    return {"/depth/image": image, "/depth/image/compressedDepth": compressed}


@pytest.fixture(scope="module")
def views() -> tuple[np.ndarray, np.ndarray]:
    """Images (N, H, W, 3) and depths (N, H, W) of the flight."""
    truth = flights.flight()
    matrices = np.stack([truth.pose(index).matrix for index in range(FRAMES)])
    cameras = torch.from_numpy(np.broadcast_to(CAMERA.matrix, (FRAMES, 3, 3)).copy())
    rendered = render(flights.scene(), cameras, torch.from_numpy(matrices), WIDTH, HEIGHT)
    images = (255.0 * rendered.image).round().byte().permute(0, 2, 3, 1).numpy()
    return images, rendered.depth.numpy()


def recorded_messages(images: np.ndarray, depths: np.ndarray) -> list[tuple[int, str, Any]]:
    """Time, topic and message; the motion sensors are recorded twice as often as images."""
    truth = flights.flight()
    stamps = np.round(truth.stamps * 1e9).astype(np.int64)
    start = int(stamps[0])
    written: list[tuple[int, str, Any]] = []
    for frame, T_base in (("camera_optical", MOUNT), ("range_link", MOUNT @ T_CAMERA_RANGE)):
        message = messages.extrinsics_message(T_base, "base_link", frame, start)
        written.append((start - 1_000_000, "/tf_static", message))
    for index in range(FRAMES):
        stamp, depth = int(stamps[index]), depths[index]
        ahead = TYPES["sensor_msgs/msg/Range"](
            header=messages.header(stamp, "range_link"),
            radiation_type=1,
            field_of_view=0.03,
            min_range=0.1,
            max_range=30.0,
            range=float(depth[HEIGHT // 2, WIDTH // 2]),
            variance=0.0,
        )
        info = messages.camera_info_message(CameraCalibration(CAMERA), stamp, "camera_optical")
        content = {
            "/camera/camera_info": info,
            "/camera/image": messages.image_message(images[index], stamp, "camera_optical"),
            "/ground_truth": messages.pose_message(truth.pose(index), stamp, "world"),
            "/range": ahead,
            **depth_messages(depth, stamp),
        }
        # Depth and range are recorded after the image of their stamp.
        late = {"/range": 5_000_000, "/depth/image": 9_000_000, "/depth/image/compressedDepth": 9_000_000}
        written += [(stamp + late.get(topic, 0), topic, message) for topic, message in content.items()]
    bases = [truth.pose(index) @ MOUNT.inverse() for index in range(FRAMES + 1)]
    for index in range(FRAMES):
        rate = so3.log(bases[index].rotation.T @ bases[index + 1].rotation) * flights.RATE
        for share in (0.0, 0.5):
            stamp = round(float(stamps[index]) + share * 1e9 / flights.RATE)
            T_odom_base = interpolated(bases[index], bases[index + 1], share)
            written.append((stamp + 2_000_000, "/wheels", odometry_message(T_odom_base, stamp)))
            written.append((stamp + 2_000_000, "/imu", imu_message(rate, stamp)))
    return sorted(written, key=lambda each: each[0])


def write_bag(path: Path, images: np.ndarray, depths: np.ndarray) -> Path:
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {
            topic: writer.add_connection(topic, kind, typestore=messages.typestore())
            for topic, kind in KINDS.items()
        }
        for time, topic, message in recorded_messages(images, depths):
            writer.write(connections[topic], time, messages.serialize(message, KINDS[topic]))
    return path


@pytest.fixture(scope="module")
def sensor_bag(views: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flight with depth images, rangefinder, wheel odometry and IMU."""
    return write_bag(tmp_path_factory.mktemp("bags") / "sensors", *views)


def write_parameters(folder: Path, **parameters: Any) -> Path:
    path = folder / "vo.yaml"
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}))
    return path


def evaluate(bag: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["evaluate", "bag", str(bag), *map(str, arguments)])


def run(bag: Path, folder: Path, sensors: SensorTopics = NO_TOPICS, **parameters: Any) -> EvaluatedRun:
    """The run with a parameter file."""
    config = node_config(write_parameters(folder, estimator=ESTIMATOR, **parameters), CameraConfig())
    truth = TruthSource(topic="/ground_truth")
    options = BagEvaluationOptions(bag, (config.estimator,), truth, config=config, sensors=sensors)
    return run_evaluation(options, "flight", Console(quiet=True)).runs[ESTIMATOR]


@pytest.mark.parametrize(
    ("parameters", "sensors"),
    [
        (
            {"scale_source": "depth", "motion_prior": "odometry"},
            SensorTopics(depth="/depth/image/compressedDepth"),
        ),
        ({"scale_source": "range"}, SensorTopics()),
        ({"scale_source": "odometry", "motion_prior": "imu"}, SensorTopics(wheel_odometry="/wheels")),
    ],
    ids=["compressed depth", "range", "odometry"],
)
def test_steps_are_metres_by_a_sensor_of_the_recording(
    sensor_bag: Path, tmp_path: Path, parameters: dict[str, Any], sensors: SensorTopics
) -> None:
    found = run(sensor_bag, tmp_path, sensors, **parameters)
    assert found.record.notes == []
    assert found.values["metric_share"] == 1.0
    assert found.values["carried_scale_share"] < 0.3
    assert found.values["ate_se3_m"] < 0.03 * found.values["path_length_m"]
    assert found.values["pose_share"] > 0.75
    assert {edge.scale_source.split(" ")[0] for edge in found.edges} == {parameters["scale_source"]}


@pytest.mark.parametrize("prior", ["odometry", "imu"])
def test_poses_go_on_by_the_motion_prior_while_images_are_black(
    views: tuple[np.ndarray, np.ndarray], tmp_path: Path, prior: str
) -> None:
    images = views[0].copy()
    images[DARK] = np.random.default_rng(1).integers(0, 3, images[DARK].shape)
    bag = write_bag(tmp_path / "bag", images, views[1])
    found = run(bag, tmp_path, scale_source="depth", motion_prior=prior)
    assert found.record.notes == []
    assert found.values["lost_share"] > 0.1
    dark = flights.flight().stamps[DARK]
    assert np.abs(found.record.trajectory.stamps[:, None] - dark).min(axis=0).max() < 1e-4
    if prior == "odometry":
        assert found.values["ate_se3_m"] < 0.03 * found.values["path_length_m"]


@pytest.mark.slow
@pytest.mark.dds
def test_node_gets_parameters_and_sensors(sensor_bag: Path, tmp_path: Path) -> None:
    """The command, over DDS, against an offline run."""
    parameters: dict[str, Any] = {
        "scale_source": "depth",
        "motion_prior": "odometry",
        "keyframe_parallax": 0.03,
    }
    offline = run(sensor_bag, tmp_path, **parameters).values
    options = ("--params-file", tmp_path / "vo.yaml", "--gt-topic", "/ground_truth", "--report", tmp_path)
    result = evaluate(sensor_bag, *options, "--real-time", "--rate", "0")
    assert result.exit_code == 0, result.output
    live = json.loads((tmp_path / "metrics.json").read_text())["estimators"][ESTIMATOR]
    assert live["metric_share"] == offline["metric_share"] == 1.0
    assert live["keyframes"] == offline["keyframes"]
    # On a busy machine wheel odometry may come too late to predict a rotation, which changes tracks slightly.
    assert live["ate_se3_m"] == pytest.approx(offline["ate_se3_m"], rel=0.2)
    assert "depth" in (tmp_path / "edges.csv").read_text()


def test_other_commands_and_options_go_with_the_file(sensor_bag: Path, tmp_path: Path) -> None:
    file = write_parameters(tmp_path, estimator=ESTIMATOR, maximum_image_width=160)
    command = ["convert", "bag", str(sensor_bag), str(tmp_path / "folder"), "--params-file", str(file)]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert len(list((tmp_path / "folder" / "images").iterdir())) == FRAMES
    command = ["demo", "--bag", str(sensor_bag), "--offline", "--output", str(tmp_path)]
    result = CliRunner().invoke(app, [*command, "--params-file", str(file)])
    assert result.exit_code == 0, result.output
    assert list(json.loads((tmp_path / "metrics.json").read_text())["estimators"]) == [ESTIMATOR]


@pytest.mark.parametrize(
    ("parameters", "arguments", "sentence"),
    [
        ({"scale_sauce": "depth"}, (), "'scale_sauce' does not exist; did you mean 'scale_source'"),
        ({"sync_slop": 1}, (), "sync_slop is 1; type float is required"),
        ({"scale_source": "range"}, ("--range-topic", "/wheels"), "sensor_msgs/msg/Range is required"),
        (
            {},
            ("--imu-topic", "/imu"),
            "topic /imu of imu is given, but not used with scale_source",
        ),
        (
            {"motion_prior": "imu", "base_frame": "chassis"},
            (),
            "does not connect chassis (base_frame)",
        ),
        ({}, ("--recorded", "x"), "omit --real-time, --params-file"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    sensor_bag: Path, tmp_path: Path, parameters: dict[str, Any], arguments: tuple[str, ...], sentence: str
) -> None:
    file = write_parameters(tmp_path, estimator=ESTIMATOR, **parameters)
    result = evaluate(sensor_bag, "--params-file", file, *arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a ROS 2 parameter file"),
        ("estimator: hybrid", "is not a ROS 2 parameter file"),
        ("a: [", "is not YAML"),
        ("ekf_node: {ros__parameters: {frequency: 30.0}}", "is for ekf_node; 'vo_node' or '/**' is required"),
    ],
)
def test_file_that_is_not_the_nodes_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "file.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        read_params_file(tmp_path / "file.yaml")


def test_parameters_of_the_node_are_read_from_every_form_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_text(
        """
/**: {ros__parameters: {use_sim_time: true, qos_overrides: {/image: {subscription: {depth: 3}}}, device: cpu}}
robot: {vo_node: {ros__parameters: {scale_timeout: 1e-1}}}
/robot/vo_node: {ros__parameters: {estimator: hybrid}}
ekf_node: {ros__parameters: {frequency: 30.0}}
"""
    )
    expected = {"device": "cpu", "scale_timeout": 0.1, "estimator": "hybrid"}
    assert read_params_file(tmp_path / "file.yaml") == expected
    defaults = {name: parameter.default for name, parameter in PARAMETERS.items()}
    assert read_params_file(ROOT / "config" / "vo.yaml") == defaults
