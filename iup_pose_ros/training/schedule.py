"""Schedules of learning rate, likelihood weight and decay of the averaged weights."""

from __future__ import annotations

import math

from iup_pose_ros.training.run_config import OptimizerConfig


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Return the learning rate of a step from 0: linear warm-up, then cosine decay until ``steps``."""
    if step < config.warm_up:
        return config.learning_rate * (step + 1) / config.warm_up
    progress = min(1.0, (step - config.warm_up) / max(1, steps - config.warm_up))
    share = 0.5 * (1.0 + math.cos(math.pi * progress))
    return config.learning_rate * (config.final + (1.0 - config.final) * share)


def likelihood_share(config: OptimizerConfig, step: int) -> float:
    """Return the weight of the likelihood in the loss of a step: first 0, then rising to 1."""
    return min(1.0, max(0.0, (step - config.plain) / max(1, config.blend)))


def average_decay(config: OptimizerConfig, step: int) -> float:
    """Return the decay of the averaged weights at a step; low at first, to forget the initial weights."""
    return min(config.average, (1.0 + step) / (10.0 + step))
