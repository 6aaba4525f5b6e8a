"""The exceptions of this package. Every message names what was wrong, where, and what is accepted."""

from __future__ import annotations


class IupPoseError(Exception):
    """Base class: everything this package raises on purpose derives from it."""


class CalibrationError(IupPoseError):
    """Camera intrinsics or distortion that no camera can have, or that do not fit the image."""


class ImageError(IupPoseError):
    """An image message that cannot be decoded."""


class EstimationError(IupPoseError):
    """Two images from which no relative pose can be estimated."""


class ConfigurationError(IupPoseError):
    """A configuration with unknown keys or values outside their range."""


class CheckpointError(IupPoseError):
    """A weights file that is missing, damaged, foreign or of the wrong shape."""


class DataError(IupPoseError):
    """A bag, sequence, trajectory or data set that does not have the expected layout."""
