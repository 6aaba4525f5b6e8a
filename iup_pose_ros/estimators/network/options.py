"""How the network of ``iup_pose`` and ``hybrid`` is run. Free of torch, so that naming it costs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from iup_pose_ros.errors import ConfigurationError

PRECISIONS = ("float32", "bfloat16", "float16")
ASK_NETWORK = ("auto", "always", "when_needed")


@dataclass(frozen=True)
class NetworkOptions:
    """Where and how the network runs.

    Attributes:
        weights: weights file; None: the one that the package carries.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: of the network's arithmetic; ``float16`` on CUDA only.
        image_area: pixels of the network's input; None: as the weights say.
        ask_network: when the hybrid estimator runs the network: ``when_needed`` (tracks leave the pose open),
            ``always``, or ``auto`` (always on CUDA, when needed on a CPU).

    Raises:
        ConfigurationError: the precision is unknown, or the area too small.
    """

    weights: Path | None = None
    device: str = "auto"
    precision: str = "float32"
    image_area: int | None = None
    ask_network: str = "auto"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigurationError(
                f"precision {self.precision!r} does not exist; accepted: {', '.join(PRECISIONS)}"
            )
        if self.ask_network not in ASK_NETWORK:
            raise ConfigurationError(
                f"ask_network {self.ask_network!r} does not exist; accepted: {', '.join(ASK_NETWORK)}"
            )
        if self.image_area is not None and self.image_area < 64 * 64:
            raise ConfigurationError(f"image_area is {self.image_area}; at least {64 * 64} is needed")
