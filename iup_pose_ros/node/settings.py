"""Settings of the node, without ROS: what is a parameter, with which default, range and meaning.

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
from iup_pose_ros.node.declaration import Parameter
from iup_pose_ros.odometry.odometry_config import OdometryConfig
from iup_pose_ros.validation import did_you_mean

_MIN_AREA = 64 * 64
_MAX_AREA = 4096 * 4096


@dataclass(frozen=True)
class NodeConfig(CameraConfig):
    """Settings of the node; every field's metadata holds its description and range or choices.

    Raises:
        ConfigurationError: values that contradict each other.
    """

    estimator: str = setting(
        "hybrid",
        "What measures the motion between two images.",
        choices=estimator_names(),
    )
    weights: str = setting(
        "",
        "Weights file (safetensors) of the network's estimators; empty: the one that the package carries.",
    )
    device: str = setting(
        "auto",
        "Where the network runs: 'auto' (CUDA where there is one), 'cpu', 'cuda' or 'cuda:N'.",
        pattern=r"auto|cpu|cuda(:\d+)?",
        form="auto, cpu, cuda or cuda:N",
    )
    precision: str = setting(
        "float32",
        "Of the network's arithmetic; 'float16' on CUDA only.",
        choices=PRECISIONS,
    )
    image_area: int = setting(
        0,
        f"Pixels (width x height) of the network's input, at least {_MIN_AREA}; 0: as the weights say.",
        minimum=0,
        maximum=_MAX_AREA,
    )
    ask_network: str = setting(
        "auto",
        "When the estimator hybrid runs the network: 'when_needed' (tracks leave the pose open), 'always' or "
        "'auto' (always on CUDA, when needed on a CPU).",
        choices=ASK_NETWORK,
    )
    on_out_of_memory: str = setting(
        "lower_resolution",
        "What the network does when memory runs out: go on with half of the pixels, or on the CPU.",
        choices=("lower_resolution", "cpu"),
    )
    base_frame: str = setting(
        "base_link",
        "Frame of the robot whose motion is published. The camera's mount on it comes from TF.",
    )
    odom_frame: str = setting("odom", "Frame in which ~/odometry and the transform give the pose.")
    publish_tf: bool = setting(
        True,
        "Whether the transform odom_frame -> base_frame is broadcast; false where a filter owns it.",
        at_run_time=True,
    )
    image_transport: str = setting(
        "raw",
        "'raw' subscribes to sensor_msgs/Image, 'compressed' to sensor_msgs/CompressedImage (JPEG, PNG ...) "
        "on the image topic with /compressed appended.",
        choices=("raw", "compressed"),
    )
    sync_slop: float = setting(
        0.0,
        "Largest difference between the stamps of an image and its camera_info; s. 0 asks for equal stamps.",
        minimum=0.0,
        maximum=1.0,
    )
    camera_info_policy: str = setting(
        "synchronised",
        "Which camera_info an image gets: 'synchronised', that of its stamp, or 'latest', the last one. "
        "Where camera_info is rarer than images, 'synchronised' becomes 'latest' with a warning.",
        choices=("synchronised", "latest"),
    )
    assume_identity_mount: bool = setting(
        False,
        "For benches without TF: takes the camera's optical frame as base_frame.",
    )
    mount_timeout: float = setting(
        0.2,
        "How long an image waits for the transform base_frame <- camera frame at its stamp; s.",
        minimum=0.0,
        maximum=10.0,
        at_run_time=True,
    )
    input_reliability: str = setting(
        "auto",
        "Quality of service of image and camera_info: 'reliable', 'best_effort', or 'auto': reliable where "
        "all publishers are.",
        choices=("auto", "best_effort", "reliable"),
    )
    input_timeout: float = setting(
        2.0,
        "Silence on image or camera_info after which the node says what is missing; s.",
        minimum=0.1,
        maximum=3600.0,
        at_run_time=True,
    )
    path_length: int = setting(
        1000,
        "Poses in ~/path: those of the last so many keyframes.",
        minimum=2,
        maximum=100_000,
        at_run_time=True,
    )
    output_directory: str = setting(
        "~/.ros/iup_pose_ros",
        "Folder into which ~/save_trajectory writes; made when it is needed.",
        pattern=r".+",
        form="a folder",
        at_run_time=True,
    )
    autostart: bool = setting(
        True,
        "Whether the node configures and activates itself at its start; false leaves that to a life-cycle "
        "manager.",
    )
    odometry: OdometryConfig = field(default_factory=OdometryConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("base_frame", "odom_frame"):
            frame = getattr(self, name)
            if not frame or frame.startswith("/"):
                raise ConfigurationError(
                    f"parameter {name} is {frame!r}; a frame name without leading slash is needed"
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
        """How the network is run."""
        return NetworkOptions(
            weights=Path(self.weights).expanduser() if self.weights else None,
            device=self.device,
            precision=self.precision,
            image_area=self.image_area or None,
            ask_network=self.ask_network,
        )

    @classmethod
    def from_parameters(cls, values: Mapping[str, Any]) -> NodeConfig:
        """Settings from parameter values by name; what is left out keeps its default.

        Raises:
            ConfigurationError: an unknown name, a value of the wrong type or outside its range.
        """
        for name, value in values.items():
            if name not in PARAMETERS:
                raise ConfigurationError(unknown_parameter(name))
            PARAMETERS[name].check(value)
        own = {name: value for name, value in values.items() if name in _OWN}
        odometry = {name: value for name, value in values.items() if name not in _OWN}
        return cls(**own, odometry=OdometryConfig.from_dict(odometry))


def unknown_parameter(name: str) -> str:
    """A sentence about a name that is no parameter, with the nearest one that is."""
    return f"parameter {name!r} does not exist; {did_you_mean(name, PARAMETERS)}"


def _parameter(setting: Field[Any]) -> Parameter:
    default: Any = setting.default
    return Parameter(setting.name, default, **setting.metadata)


_OWN = {setting.name: _parameter(setting) for setting in fields(NodeConfig) if setting.metadata}
PARAMETERS: Mapping[str, Parameter] = _OWN | {
    setting.name: _parameter(setting) for setting in fields(OdometryConfig)
}
