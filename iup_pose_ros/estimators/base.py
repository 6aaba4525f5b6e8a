"""The protocol of relative pose estimators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from iup_pose_ros.types import Frame, Matches, RelativePose


@dataclass(frozen=True)
class EstimatorInfo:
    """Description of an estimator for logs and diagnostics.

    Attributes:
        name: name of the estimator.
        device: device on which it runs.
        precision: floating-point type of the network; empty without a network.
        image_area: number of pixels of the network input; 0 without a network.
        weights: file name of the network weights; empty without a weights file.
        sha256: hexadecimal digest of the weights file.
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
    """Interface of relative pose estimators."""

    @property
    def name(self) -> str:
        """Return the name for messages, tables and parameters."""

    @property
    def info(self) -> EstimatorInfo:
        """Return the current description of the estimator."""

    def estimate(self, previous: Frame, current: Frame, matches: Matches | None = None) -> RelativePose:
        """Estimate the pose of the current camera in the previous camera frame.

        Args:
            previous, current: undistorted images.
            matches: matches tracked between the images, which may be used instead of own features; without
                those that are fixed in the image, on dirt on the lens or on the robot itself.

        Raises:
            EstimationError: the images do not determine a pose; the message gives the reason.
        """
