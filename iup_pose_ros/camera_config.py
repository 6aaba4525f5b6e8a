"""Settings of how images and camera_info are read; parameters of the node and options of the commands."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from iup_pose_ros.errors import ConfigurationError

_RANGE = re.compile(r"\[?\s*([-+.\de]+)\s*,\s*([-+.\de]+)\s*\]?")
_NARROWEST_FOV, _WIDEST_FOV = 20.0, 140.0


def setting(default: bool | float | str, description: str, **limits: Any) -> Any:
    """Return a dataclass field whose metadata declare a parameter, see node/declaration.py."""
    return field(default=default, metadata={"description": description, **limits})


@dataclass(frozen=True)
class CameraConfig:
    """How images and camera_info are read; every field's metadata holds its description.

    Raises:
        ConfigurationError: a value that is not accepted.
    """

    image_is_rectified: bool = setting(
        False,
        "Whether images are undistorted already: P of camera_info is used instead of K, and D is ignored.",
    )
    rectified_fov: float = setting(
        0.0,
        "Horizontal field of view to which distorted images are rectified, 20 to 140; deg. 0: as wide as the "
        "lens allows, at most 100.",
        minimum=0.0,
        maximum=_WIDEST_FOV,
    )
    allow_frame_mismatch: bool = setting(
        False,
        "Whether a camera_info is accepted whose frame_id differs from that of the image.",
    )
    mono16_range: str = setting(
        "auto",
        "Levels of 16-bit and floating-point images that become black and white, 'low,high'; 'auto' follows "
        "their percentiles slowly.",
        pattern=rf"auto|{_RANGE.pattern}",
        form="auto or low,high",
    )

    def __post_init__(self) -> None:
        if self.rectified_fov != 0.0 and not _NARROWEST_FOV <= self.rectified_fov <= _WIDEST_FOV:
            raise ConfigurationError(
                f"rectified_fov is {self.rectified_fov:g}; 0 or {_NARROWEST_FOV:g} to {_WIDEST_FOV:g} deg is "
                "accepted"
            )
        self._parsed_range()

    @property
    def level_range(self) -> tuple[float, float] | None:
        """Levels that become black and white; None where they follow the images."""
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
