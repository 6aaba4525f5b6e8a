"""The weights that travel with the package; the model cards beside them tell what they are."""

from pathlib import Path

SHIPPED_WEIGHTS = Path(__file__).with_name("iup_pose_small.safetensors")
"""Weights of the network that runs by default."""
MEDIUM_WEIGHTS = Path(__file__).with_name("iup_pose_medium.safetensors")
"""Weights of the second network of the hybrid estimator."""


def find_weights(weights: Path | None) -> Path:
    """Return the file of weights given as a path or as the name of shipped ones, ``small`` or ``medium``."""
    named = {"small": SHIPPED_WEIGHTS, "medium": MEDIUM_WEIGHTS}
    return SHIPPED_WEIGHTS if weights is None else named.get(str(weights), weights)
