"""Settings of the odometry with defaults, units, ranges and descriptions.

Lengths in the image are fractions of its width and therefore independent of the resolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.validation import accepted_are, check_number, did_you_mean

SCALE_SOURCES = ("relative", "odometry", "depth", "range", "camera_height", "fixed")
ODOMETRY_RATES = ("image", "keyframe")


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


@dataclass(frozen=True)
class OdometryConfig:
    """Settings of the odometry.

    The metadata of each field holds its description, range or choices, and whether it can change at run time.

    Raises:
        ConfigurationError: a value has the wrong type or is out of range.
    """

    maximum_tracks: int = _number(400, 50, 5000, "Maximum number of tracked points.")
    minimum_tracks: int = _number(
        30, 8, 1000, "Minimum number of tracks to validate a pose and of corners to start a keyframe."
    )
    keyframe_parallax: float = _number(
        0.02,
        0.002,
        0.5,
        "Keyframe threshold: median motion of the tracks since the last keyframe after compensating the "
        "rotation; fraction of the image width.",
    )
    keyframe_rotation: float = _number(
        0.1, 0.01, 1.0, "Keyframe threshold: rotation of the camera since the last keyframe; rad."
    )
    keyframe_tracked_fraction: float = _number(
        0.6, 0.1, 0.95, "Keyframe threshold: share of the last keyframe's tracks that survive."
    )
    keyframe_interval: float = _number(
        0.5, 0.05, 60.0, "Keyframe threshold: time since the last keyframe while the camera moves; s."
    )
    stationary_motion: float = _number(
        0.0015,
        0.0001,
        0.02,
        "Standstill threshold: maximum motion of the median track; fraction of the image width.",
    )
    stationary_window: float = _number(
        0.5, 0.05, 10.0, "Standstill: time for which the motion must stay below stationary_motion; s."
    )
    stationary_hysteresis: float = _number(
        2.0, 1.0, 10.0, "Standstill ends when the motion exceeds stationary_motion times this factor."
    )
    minimum_inlier_fraction: float = _number(
        0.4, 0.0, 1.0, "Minimum share of tracks that agree with a pose; otherwise it is rejected."
    )
    maximum_rotation_rate: float = _number(
        6.3, 0.1, 100.0, "Maximum rotation rate of a pose; a faster one is rejected; rad/s."
    )
    lost_patience: float = _number(
        0.5, 0.0, 10.0, "Time after a loss during which the tracks of the last good frame are retried; s."
    )
    odometry_rate: str = field(
        default="image",
        metadata={
            "description": "Images with odometry, twist and transform while the camera moves: 'image', every "
            "image, or 'keyframe', keyframes only.",
            "choices": ODOMETRY_RATES,
            "at_run_time": True,
        },
    )
    scale_source: str = field(
        default="relative",
        metadata={
            "description": "Source of step lengths: 'relative' (the first step is 1, the others follow from "
            "shared tracks); in metres: 'odometry' (wheel odometry), 'depth' (depth images), 'range' (range "
            "sensor), 'camera_height' (height over a plane ground) or 'fixed' (fixed_step_length).",
            "choices": SCALE_SOURCES,
        },
    )
    fixed_step_length: float = _number(
        1.0,
        0.0001,
        1000.0,
        "Length of every step between keyframes if scale_source is 'fixed'; m.",
        at_run_time=False,
    )
    depth_slop: float = _number(
        0.02,
        0.0,
        1.0,
        "Maximum difference between the stamps of a keyframe and its depth image or range if scale_source is "
        "'depth' or 'range'; s.",
        at_run_time=False,
    )
    camera_height: float = _number(
        0.0,
        0.0,
        100.0,
        "Height of the camera over the ground if scale_source is 'camera_height', which requires it; m.",
        at_run_time=False,
    )
    scale_timeout: float = _number(
        3.0,
        0.0,
        600.0,
        "Time after the last length measured by depth, range or camera height until steps are no longer "
        "marked metric. The scale is carried on by shared tracks with a growing standard deviation; s.",
        at_run_time=False,
    )

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            what, limits = f"odometry setting {setting.name}", setting.metadata
            if "choices" in limits:
                if value not in limits["choices"]:
                    raise ConfigurationError(f"{what} is {value!r}; {accepted_are(limits['choices'])}")
                continue
            integral = setting.type == "int"
            if isinstance(value, bool) or not isinstance(value, int if integral else int | float):
                kind = "an integer" if integral else "a number"
                raise ConfigurationError(f"{what} is {value!r}; {kind} is required")
            check_number(what, value, limits["minimum"], limits["maximum"])

        if self.scale_source == "camera_height" and self.camera_height == 0.0:
            raise ConfigurationError(
                "scale_source is 'camera_height', but camera_height is 0; the height in metres is required"
            )
        if self.minimum_tracks > self.maximum_tracks:
            raise ConfigurationError(
                f"odometry setting minimum_tracks is {self.minimum_tracks}, more than maximum_tracks, "
                f"{self.maximum_tracks}"
            )

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> OdometryConfig:
        """Return the settings from values by name; missing ones keep their default.

        Raises:
            ConfigurationError: a name does not exist, or a value is rejected by the class.
        """
        names = [setting.name for setting in fields(cls)]
        for name in settings:
            if name not in names:
                raise ConfigurationError(
                    f"odometry setting {name!r} does not exist; {did_you_mean(name, names)}"
                )
        return cls(**settings)
