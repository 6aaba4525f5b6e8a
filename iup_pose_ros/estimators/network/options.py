"""Options of the network of ``iup_pose`` and ``hybrid``. Does not import torch, which takes seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from iup_pose_ros.errors import ConfigurationError

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
ASK_NETWORK = ("auto", "always", "when_needed")


@dataclass(frozen=True)
class NetworkOptions:
    """Weights, device, precision and input size of the network.

    Attributes:
        weights: weights file, or the name of shipped weights, ``small`` or ``medium``; None: ``small``.
        device: ``auto`` (CUDA if available), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: floating-point type, one of ``PRECISIONS``; ``float16`` on CUDA only. ``auto``: bfloat16
            on CPUs with AMX, else float32.
        image_area: number of pixels of the network input; None: that of the weights file.
        ask_network: when the hybrid estimator runs the network: ``when_needed`` (tracks leave the pose open),
            ``always``, or ``auto`` (always on CUDA, when needed on a CPU).
        second_network: whether the hybrid estimator runs the larger network ``medium`` where the pose of two
            images that no tracks connect is uncertain otherwise.

    Raises:
        ConfigurationError: precision or ask_network is unknown, or the area is too small.
    """

    weights: Path | None = None
    device: str = "auto"
    precision: str = "float32"
    image_area: int | None = None
    ask_network: str = "auto"
    second_network: bool = True

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigurationError(
                f"unknown precision {self.precision!r}; accepted: {', '.join(PRECISIONS)}"
            )
        if self.ask_network not in ASK_NETWORK:
            raise ConfigurationError(
                f"unknown ask_network {self.ask_network!r}; accepted: {', '.join(ASK_NETWORK)}"
            )
        if self.image_area is not None and self.image_area < 64 * 64:
            raise ConfigurationError(f"image_area is {self.image_area}; the minimum is {64 * 64}")
