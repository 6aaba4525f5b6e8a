"""Settings for reading images and camera_info; parameters of the node and options of the commands."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from iup_pose_ros.errors import ConfigurationError

_RANGE = re.compile(r"\[?\s*([-+.\de]+)\s*,\s*([-+.\de]+)\s*\]?")
_MIN_FOV, _MAX_FOV = 20.0, 140.0
_MIN_WIDTH = 64


def setting(default: bool | float | str, description: str, **limits: Any) -> Any:
    """Return a dataclass field whose metadata declare a parameter, see node/declaration.py."""
    return field(default=default, metadata={"description": description, **limits})


@dataclass(frozen=True)
class CameraConfig:
    """Settings for reading images and camera_info; the metadata of each field holds its description.

    Raises:
        ConfigurationError: a value is not accepted.
    """

    image_is_rectified: bool = setting(
        False,
        "Images are already rectified: use P of camera_info instead of K, and ignore D.",
    )
    rectified_fov: float = setting(
        0.0,
        "Horizontal field of view of rectified images, 20 to 140; deg. 0: that of the lens, maximum 100.",
        minimum=0.0,
        maximum=_MAX_FOV,
    )
    allow_frame_mismatch: bool = setting(
        False,
        "Accept a camera_info whose frame_id differs from that of the image.",
    )
    mono16_range: str = setting(
        "auto",
        "Levels of 16-bit and floating-point images that are mapped to black and white, 'low,high'; 'auto': "
        "smoothed percentiles of the images.",
        pattern=rf"auto|{_RANGE.pattern}",
        form="auto or low,high",
    )
    mask_file: str = setting(
        "",
        "Image file (PNG) of the size of the camera's images, non-zero where pixels are ignored, for example "
        "parts of the robot; empty: none.",
    )
    mask_timeout: float = setting(
        0.5,
        "Maximum time from the stamp of a mask to that of an image that it is used for; s. 0: equal stamps.",
        minimum=0.0,
        maximum=10.0,
    )
    maximum_image_width: int = setting(
        960,
        "Width to which wider images are reduced before undistortion and tracking; pixels. 0: no reduction.",
        minimum=0,
        maximum=100_000,
    )

    def __post_init__(self) -> None:
        if self.rectified_fov != 0.0 and not _MIN_FOV <= self.rectified_fov <= _MAX_FOV:
            raise ConfigurationError(
                f"rectified_fov is {self.rectified_fov:g}; 0 or {_MIN_FOV:g} to {_MAX_FOV:g} deg is accepted"
            )
        if self.maximum_image_width != 0 and self.maximum_image_width < _MIN_WIDTH:
            raise ConfigurationError(
                f"maximum_image_width is {self.maximum_image_width}; 0 or at least {_MIN_WIDTH} is accepted"
            )
        self._parsed_range()

    @property
    def level_range(self) -> tuple[float, float] | None:
        """Levels that are mapped to black and white; None if they follow the images."""
        return self._parsed_range()

    def _parsed_range(self) -> tuple[float, float] | None:
        if self.mono16_range == "auto":
            return None
        found = _RANGE.fullmatch(self.mono16_range.strip())
        try:
            low, high = (float(text) for text in found.groups()) if found else (0.0, 0.0)
        except ValueError:
            low, high = 0.0, 0.0
        if not low < high:
            raise ConfigurationError(
                f"mono16_range is {self.mono16_range!r}; 'auto' or 'low,high' with low below high is accepted"
            )
        return low, high
