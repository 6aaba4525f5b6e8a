"""The node with an estimator whose accelerator has memory for 40000 pixels only, from its third pair on.

The device ``cuda:9`` has none at all.
"""

from __future__ import annotations

import sys

import torch

from iup_pose_ros.estimators.base import EstimatorInfo, RelativePoseEstimator
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.estimators.registry import create_estimator
from iup_pose_ros.node.lifecycle_node import VoNode
from iup_pose_ros.node.process import run
from iup_pose_ros.node.stop_request import StopRequest
from iup_pose_ros.types import Frame, Matches, RelativePose

ROOM = 40_000
PLENTY_UNTIL = 3


class StarvingEstimator:
    """epipolar_klt that needs memory like a network."""

    name = "epipolar_klt"

    def __init__(self, options: NetworkOptions) -> None:
        if options.device == "cuda:9":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.device = options.device
        self._area = options.image_area or 320 * 240
        self.info = EstimatorInfo(self.name, options.device, options.precision, self._area)
        self._calls = 0
        self._inner = create_estimator("epipolar_klt")

    def estimate(self, previous: Frame, current: Frame, matches: Matches | None = None) -> RelativePose:
        """See RelativePoseEstimator.estimate."""
        self._calls += 1
        if self.device != "cpu" and self._area > ROOM and self._calls > PLENTY_UNTIL:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self._inner.estimate(previous, current, matches)


def create(name: str, options: NetworkOptions) -> RelativePoseEstimator:
    """Stands for registry.create_estimator."""
    return StarvingEstimator(options)


if __name__ == "__main__":
    sys.exit(run(lambda: VoNode(create), StopRequest()))
