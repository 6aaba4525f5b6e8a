"""The protocol every estimator implements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from iup_pose_ros.types import Frame, Matches, RelativePose


@dataclass(frozen=True)
class EstimatorInfo:
    """What an estimator is and how it runs, for logs and diagnostics.

    Attributes:
        name: of the estimator.
        device: where it computes.
        precision: of the network's arithmetic, empty without a network.
        image_area: pixels of the network's input, 0 without a network.
        weights: file name of the network's weights, empty without a weights file.
        sha256: their digest, hexadecimal.
    """

    name: str
    device: str = "cpu"
    precision: str = ""
    image_area: int = 0
    weights: str = ""
    sha256: str = ""

    def __str__(self) -> str:
        if not self.weights:
            return f"{self.name} on {self.device}"
        return (
            f"{self.name} on {self.device} in {self.precision}, {self.image_area} pixels, "
            f"weights {self.weights} (sha256 {self.sha256[:12]})"
        )


class RelativePoseEstimator(Protocol):
    """What the odometry needs of an estimator."""

    @property
    def name(self) -> str:
        """Name for messages, tables and parameters."""

    @property
    def info(self) -> EstimatorInfo:
        """What the estimator is and how it runs now."""

    def estimate(self, previous: Frame, current: Frame, matches: Matches | None = None) -> RelativePose:
        """Return the relative pose of two frames.

        Matches tracked between them may be used instead of own features.

        Raises:
            EstimationError: the images do not determine a pose; the message says why.
        """
