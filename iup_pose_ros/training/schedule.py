"""What changes with the step: learning rate, share of the likelihood, decay of the averaged weights."""

from __future__ import annotations

import math

from iup_pose_ros.training.run_config import OptimiserConfig


def learning_rate(config: OptimiserConfig, step: int, steps: int) -> float:
    """Of a step from 0: a linear rise, then half a cosine down to the final rate at ``steps``."""
    if step < config.warm_up:
        return config.learning_rate * (step + 1) / config.warm_up
    progress = min(1.0, (step - config.warm_up) / max(1, steps - config.warm_up))
    share = 0.5 * (1.0 + math.cos(math.pi * progress))
    return config.learning_rate * (config.final + (1.0 - config.final) * share)


def likelihood_share(config: OptimiserConfig, step: int) -> float:
    """Share of the likelihood in the loss of a step: 0 first, then rising to 1."""
    return min(1.0, max(0.0, (step - config.plain) / max(1, config.blend)))


def average_decay(config: OptimiserConfig, step: int) -> float:
    """Decay of the averaged weights at a step: low at first, so that the random start is soon forgotten."""
    return min(config.average, (1.0 + step) / (10.0 + step))
