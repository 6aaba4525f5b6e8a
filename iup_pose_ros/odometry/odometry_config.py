"""Settings of the odometry: one place for defaults, units, ranges and descriptions.

Lengths in the image are fractions of its width, so that one setting serves every resolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.validation import accepted_are, check_number, did_you_mean

SCALE_SOURCES = ("relative", "odometry", "fixed")


def _number(
    default: float, minimum: float, maximum: float, description: str, at_run_time: bool = True
) -> Any:
    metadata = {
        "description": description,
        "minimum": minimum,
        "maximum": maximum,
        "at_run_time": at_run_time,
    }
    return field(default=default, metadata=metadata)


def _choice(default: str, choices: tuple[str, ...], description: str) -> Any:
    return field(default=default, metadata={"description": description, "choices": choices})


@dataclass(frozen=True)
class OdometryConfig:
    """Settings of the odometry.

    Every field's metadata holds its description, its range or choices, and whether it can change at run time.

    Raises:
        ConfigurationError: a value of the wrong type or outside its range.
    """

    maximum_tracks: int = _number(400, 50, 5000, "Most points that are tracked at a time.")
    minimum_tracks: int = _number(
        30, 8, 1000, "Fewest tracks that can check a pose; fewest corners with which tracking can begin."
    )
    keyframe_parallax: float = _number(
        0.02,
        0.002,
        0.5,
        "A frame becomes a keyframe when the median track has moved this far since the last one, beyond what "
        "a rotation explains; fraction of the image width.",
    )
    keyframe_rotation: float = _number(
        0.1, 0.01, 1.0, "A frame becomes a keyframe when the camera has turned this far since the last; rad."
    )
    keyframe_tracked_fraction: float = _number(
        0.6, 0.1, 0.95, "A frame becomes a keyframe when only this share of the last one's tracks survives."
    )
    keyframe_interval: float = _number(
        0.5, 0.05, 60.0, "A frame becomes a keyframe when the last one is this old and the camera moves; s."
    )
    stationary_motion: float = _number(
        0.0015,
        0.0001,
        0.02,
        "The camera is at rest when the median track stays within this distance; fraction of image width.",
    )
    stationary_window: float = _number(
        0.5, 0.05, 10.0, "Time for which the tracks must stay in place before the camera counts as still; s."
    )
    stationary_hysteresis: float = _number(
        2.0, 1.0, 10.0, "A camera at rest moves again when its tracks leave stationary_motion times this."
    )
    minimum_inlier_fraction: float = _number(
        0.4, 0.0, 1.0, "A pose with which fewer of its tracks agree is rejected; share of the tracks."
    )
    maximum_rotation_rate: float = _number(
        6.3, 0.1, 100.0, "A pose that turns the camera faster is rejected; rad/s."
    )
    lost_patience: float = _number(
        0.5, 0.0, 10.0, "After a loss, tracks of the last good frame are tried for this long; s."
    )
    scale_source: str = _choice(
        "relative",
        SCALE_SOURCES,
        "Length of a step: 'relative' (the first step is 1, the others follow from shared tracks), "
        "'odometry' (wheel odometry between the two images, metres) or 'fixed' (fixed_step_length).",
    )
    fixed_step_length: float = _number(
        1.0,
        0.0001,
        1000.0,
        "Length of every step between keyframes where scale_source is 'fixed'; m.",
        at_run_time=False,
    )

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            what, limits = f"odometry setting {setting.name}", setting.metadata
            if "choices" not in limits:
                _check_kind(setting.name, value, integral=setting.type == "int")
                check_number(what, value, limits["minimum"], limits["maximum"])
            elif value not in limits["choices"]:
                raise ConfigurationError(f"{what} is {value!r}; {accepted_are(limits['choices'])}")

        if self.minimum_tracks > self.maximum_tracks:
            raise ConfigurationError(
                f"odometry setting minimum_tracks is {self.minimum_tracks}, more than maximum_tracks, "
                f"{self.maximum_tracks}"
            )

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> OdometryConfig:
        """Settings by name; what is left out keeps its default.

        Raises:
            ConfigurationError: a name that does not exist, or what the class itself rejects.
        """
        names = [setting.name for setting in fields(cls)]
        for name in settings:
            if name not in names:
                raise ConfigurationError(
                    f"odometry setting {name!r} does not exist; {did_you_mean(name, names)}"
                )
        return cls(**settings)


def _check_kind(name: str, value: object, integral: bool) -> None:
    kinds = (int,) if integral else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        kind = "an integer" if integral else "a number"
        raise ConfigurationError(f"odometry setting {name} is {value!r}; {kind} is needed")
