"""Settings of the node, without ROS: what is a parameter, with which default, range and meaning.

Every setting of the odometry (odometry/config.py) is a parameter of the node under the same name.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.estimators.registry import estimator_names
from iup_pose_ros.odometry.config import OdometryConfig

ParameterValue = bool | int | float | str


@dataclass(frozen=True)
class Parameter:
    """Declaration of one ROS parameter.

    Attributes:
        name: the parameter's name.
        default: its default; the type of the default is the type of the parameter.
        description: one or two sentences with the unit.
        minimum: smallest accepted number, None for other types.
        maximum: largest accepted number, None for other types.
        choices: the accepted values of a text, empty where any text is.
    """

    name: str
    default: ParameterValue
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: object) -> None:
        """Raises ConfigurationError unless the parameter can have this value."""
        if type(value) is not type(self.default):
            raise ConfigurationError(
                f"parameter {self.name} is {value!r}; a value of type {type(self.default).__name__} is needed"
            )
        if self.choices and value not in self.choices:
            accepted = ", ".join(repr(choice) for choice in self.choices)
            raise ConfigurationError(f"parameter {self.name} is {value!r}; accepted are {accepted}")
        if self.minimum is not None and self.maximum is not None and isinstance(value, float | int):
            self._check_range(value, self.minimum, self.maximum)

    def _check_range(self, value: float, minimum: float, maximum: float) -> None:
        if not (math.isfinite(value) and minimum <= value <= maximum):
            raise ConfigurationError(
                f"parameter {self.name} is {value!r}; {minimum} to {maximum} is accepted"
            )


def _setting(default: ParameterValue, description: str, **limits: Any) -> Any:
    return field(default=default, metadata={"description": description, **limits})


@dataclass(frozen=True)
class NodeConfig:
    """Settings of the node; every field's metadata holds its description and range or choices.

    Raises:
        ConfigurationError: values that contradict each other.
    """

    estimator: str = _setting(
        "epipolar_klt",
        "What measures the motion between two images.",
        choices=estimator_names(),
    )
    base_frame: str = _setting(
        "base_link",
        "Frame of the robot whose motion is published. The camera's mount on it comes from TF.",
    )
    odom_frame: str = _setting("odom", "Frame in which ~/odometry and the transform give the pose.")
    publish_tf: bool = _setting(
        True,
        "Whether the transform odom_frame -> base_frame is broadcast; false where a filter owns it.",
    )
    image_transport: str = _setting(
        "raw",
        "'raw' subscribes to sensor_msgs/Image, 'compressed' to sensor_msgs/CompressedImage (JPEG or PNG) "
        "on the image topic with /compressed appended.",
        choices=("raw", "compressed"),
    )
    image_is_rectified: bool = _setting(
        False,
        "Whether images are undistorted already: P of camera_info is used instead of K, and D is ignored.",
    )
    sync_slop: float = _setting(
        0.0,
        "Largest difference between the stamps of an image and its camera_info; s. 0 asks for equal stamps.",
        minimum=0.0,
        maximum=1.0,
    )
    assume_identity_mount: bool = _setting(
        False,
        "For benches without TF: takes the camera's optical frame as base_frame.",
    )
    mount_timeout: float = _setting(
        0.2,
        "How long an image waits for the transform base_frame <- camera frame at its stamp; s.",
        minimum=0.0,
        maximum=10.0,
    )
    input_reliability: str = _setting(
        "auto",
        "Quality of service of image and camera_info: 'reliable', 'best_effort', or 'auto': reliable where "
        "all publishers are.",
        choices=("auto", "best_effort", "reliable"),
    )
    input_timeout: float = _setting(
        2.0,
        "Silence on image or camera_info after which the node says what is missing; s.",
        minimum=0.1,
        maximum=3600.0,
    )
    autostart: bool = _setting(
        True,
        "Whether the node configures and activates itself; false leaves that to a life-cycle manager.",
    )
    odometry: OdometryConfig = field(default_factory=OdometryConfig)

    def __post_init__(self) -> None:
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

    @classmethod
    def from_parameters(cls, values: Mapping[str, Any]) -> NodeConfig:
        """Settings from parameter values by name; what is left out keeps its default.

        Raises:
            ConfigurationError: an unknown name, a value of the wrong type or outside its range.
        """
        for name, value in values.items():
            if name not in PARAMETERS:
                nearest = difflib.get_close_matches(name, PARAMETERS, n=1, cutoff=0.0)[0]
                raise ConfigurationError(f"parameter {name!r} does not exist; did you mean {nearest!r}?")
            PARAMETERS[name].check(value)
        own = {name: value for name, value in values.items() if name in _OWN}
        odometry = {name: value for name, value in values.items() if name not in _OWN}
        return cls(**own, odometry=OdometryConfig.from_dict(odometry))


def _parameter(setting: Field[Any]) -> Parameter:
    default: Any = setting.default
    return Parameter(setting.name, default, **setting.metadata)


_OWN = {setting.name: _parameter(setting) for setting in fields(NodeConfig) if setting.metadata}
PARAMETERS: Mapping[str, Parameter] = _OWN | {
    setting.name: _parameter(setting) for setting in fields(OdometryConfig)
}
