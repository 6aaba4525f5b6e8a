"""Declaration of the node's settings: default, range and description of every parameter; without ROS.

Every setting of the odometry (odometry/odometry_config.py) is a parameter of the node under the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from iup_pose_ros.camera_config import CameraConfig, setting
from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.estimators.network.options import ASK_NETWORK, PRECISIONS, NetworkOptions
from iup_pose_ros.estimators.registry import estimator_names
from iup_pose_ros.node.declaration import Parameter, ParameterValue
from iup_pose_ros.odometry.odometry_config import OdometryConfig
from iup_pose_ros.validation import did_you_mean

_MIN_AREA = 64 * 64
_MAX_AREA = 4096 * 4096
# Parameters that rclpy and tf2 declare themselves.
OF_ROS = ("use_sim_time", "start_type_description_service", "qos_overrides.")


@dataclass(frozen=True)
class NodeConfig(CameraConfig):
    """Settings of the node; the metadata of each field holds its description and range or choices.

    Raises:
        ConfigurationError: a value is not accepted, or values contradict each other.
    """

    estimator: str = setting(
        "hybrid",
        "Relative pose estimator.",
        choices=estimator_names(),
    )
    weights: str = setting(
        "",
        "Weights of the network: a safetensors file, or 'small' or 'medium' (shipped); empty: 'small'.",
    )
    device: str = setting(
        "auto",
        "Device of the network: 'auto' (CUDA if available), 'cpu', 'cuda' or 'cuda:N'.",
        pattern=r"auto|cpu|cuda(:\d+)?",
        form="auto, cpu, cuda or cuda:N",
    )
    precision: str = setting(
        "float32",
        "Floating-point type of the network; 'float16' on CUDA only. 'auto': bfloat16 on CPUs with AMX, else "
        "float32.",
        choices=PRECISIONS,
    )
    image_area: int = setting(
        0,
        f"Pixels (width x height) of the network's input, minimum {_MIN_AREA}; 0: checkpoint default.",
        minimum=0,
        maximum=_MAX_AREA,
    )
    ask_network: str = setting(
        "auto",
        "When hybrid runs the network: 'when_needed' (tracks do not determine the pose), 'always' or "
        "'auto' (always on CUDA, when needed on a CPU).",
        choices=ASK_NETWORK,
    )
    second_network: bool = setting(
        True,
        "Whether hybrid runs the larger network 'medium' where the pose of two images that too few tracks "
        "connect is uncertain otherwise, for example after a loss; it takes about a second on one CPU core.",
    )
    on_out_of_memory: str = setting(
        "lower_resolution",
        "On CUDA out-of-memory: halve the pixels of the network's input, or move the network to the CPU.",
        choices=("lower_resolution", "cpu"),
    )
    base_frame: str = setting(
        "base_link",
        "Frame of the robot whose motion is published. The camera's extrinsics come from TF.",
    )
    odom_frame: str = setting("odom", "Parent frame of the published pose and transform.")
    publish_tf: bool = setting(
        True,
        "Broadcast the transform odom_frame -> base_frame; false if a filter publishes it.",
        at_run_time=True,
    )
    image_transport: str = setting(
        "raw",
        "'raw' subscribes to sensor_msgs/Image, 'compressed' to sensor_msgs/CompressedImage (JPEG, PNG ...) "
        "on the image topic with /compressed appended.",
        choices=("raw", "compressed"),
    )
    depth_transport: str = setting(
        "raw",
        "'raw' subscribes to sensor_msgs/Image on the topic depth, 'compressedDepth' to "
        "sensor_msgs/CompressedImage on it with /compressedDepth appended; if scale_source is 'depth'.",
        choices=("raw", "compressedDepth"),
    )
    sync_slop: float = setting(
        0.0,
        "Maximum difference between the stamps of an image and its camera_info; s. 0: equal stamps.",
        minimum=0.0,
        maximum=1.0,
    )
    camera_info_policy: str = setting(
        "synchronised",
        "camera_info used for an image: 'synchronised', that of its stamp, or 'latest', the last one. "
        "If camera_info has a lower rate than images, 'synchronised' becomes 'latest' with a warning.",
        choices=("synchronised", "latest"),
    )
    mask_policy: str = setting(
        "latest",
        "Mask used for an image: 'latest', the last one within mask_timeout, or 'synchronised', that of its "
        "stamp, for which the image waits at most mask_timeout.",
        choices=("latest", "synchronised"),
    )
    motion_prior: str = setting(
        "none",
        "Sensor that carries the pose through a loss and predicts rotations for the tracking: 'none', "
        "'odometry' (topic wheel_odometry) or 'imu' (topic imu; rotation only).",
        choices=("none", "odometry", "imu"),
    )
    assume_identity_mount: bool = setting(
        False,
        "Assume that base_frame is the camera's optical frame; for tests without TF.",
    )
    mount_timeout: float = setting(
        0.2,
        "Maximum time to wait for the transform base_frame <- camera frame at an image's stamp; s.",
        minimum=0.0,
        maximum=10.0,
        at_run_time=True,
    )
    input_reliability: str = setting(
        "auto",
        "Reliability of the image and camera_info subscriptions: 'reliable', 'best_effort', or 'auto': "
        "reliable if all publishers are.",
        choices=("auto", "best_effort", "reliable"),
    )
    input_timeout: float = setting(
        2.0,
        "Time without image or camera_info after which the node reports what is missing; s.",
        minimum=0.1,
        maximum=3600.0,
        at_run_time=True,
    )
    path_length: int = setting(
        1000,
        "Maximum number of poses in ~/path; those of the latest keyframes.",
        minimum=2,
        maximum=100_000,
        at_run_time=True,
    )
    output_directory: str = setting(
        "~/.ros/iup_pose_ros",
        "Output folder of ~/save_trajectory; created if needed.",
        pattern=r".+",
        form="a folder",
        at_run_time=True,
    )
    autostart: bool = setting(
        True,
        "Configure and activate the node at startup; false leaves this to a lifecycle manager.",
    )
    odometry: OdometryConfig = field(default_factory=OdometryConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("base_frame", "odom_frame"):
            frame = getattr(self, name)
            if not frame or frame.startswith("/"):
                raise ConfigurationError(
                    f"parameter {name} is {frame!r}; a frame name without leading slash is required"
                )
        if self.base_frame == self.odom_frame:
            raise ConfigurationError(
                f"base_frame and odom_frame are both {self.base_frame!r}; they must differ"
            )
        if 0 < self.image_area < _MIN_AREA:
            raise ConfigurationError(
                f"parameter image_area is {self.image_area}; 0 or at least {_MIN_AREA} is accepted"
            )

    @property
    def network(self) -> NetworkOptions:
        """Weights, device, precision and input size of the network."""
        return NetworkOptions(
            weights=Path(self.weights).expanduser() if self.weights else None,
            device=self.device,
            precision=self.precision,
            image_area=self.image_area or None,
            ask_network=self.ask_network,
            second_network=self.second_network,
        )

    @property
    def parameters(self) -> dict[str, ParameterValue]:
        """The values of all parameters by name, which ``from_parameters`` converts back."""
        return {name: getattr(self if name in _OWN else self.odometry, name) for name in PARAMETERS}

    @classmethod
    def from_parameters(cls, values: Mapping[str, Any]) -> NodeConfig:
        """Return the settings from parameter values by name; missing ones keep their default.

        Raises:
            ConfigurationError: a name is unknown, or a value has the wrong type or is out of range.
        """
        for name, value in values.items():
            if name not in PARAMETERS:
                raise ConfigurationError(unknown_parameter(name))
            PARAMETERS[name].check(value)
        own = {name: value for name, value in values.items() if name in _OWN}
        odometry = {name: value for name, value in values.items() if name not in _OWN}
        return cls(**own, odometry=OdometryConfig.from_dict(odometry))


def unknown_parameter(name: str) -> str:
    """Return an error message for an unknown parameter name, with the most similar known one."""
    return f"parameter {name!r} does not exist; {did_you_mean(name, PARAMETERS)}"


def _parameter(setting: Field[Any]) -> Parameter:
    default: Any = setting.default
    return Parameter(setting.name, default, **setting.metadata)


_OWN = {setting.name: _parameter(setting) for setting in fields(NodeConfig) if setting.metadata}
PARAMETERS: Mapping[str, Parameter] = _OWN | {
    setting.name: _parameter(setting) for setting in fields(OdometryConfig)
}
