"""Exceptions of this package. Every message names the wrong value, its place, and what is accepted."""

from __future__ import annotations


class IupPoseError(Exception):
    """Base class of all exceptions that this package raises deliberately."""


class CalibrationError(IupPoseError):
    """Implausible camera intrinsics or distortion, or a calibration that does not match the image."""


class ImageError(IupPoseError):
    """An image message that cannot be decoded."""


class EstimationError(IupPoseError):
    """Two images from which no relative pose can be estimated."""


class ConfigurationError(IupPoseError):
    """A configuration with unknown keys or values outside their range."""


class CheckpointError(IupPoseError):
    """A weights file that is missing, damaged, foreign or of the wrong shape."""


class ExtrinsicsError(IupPoseError):
    """The pose of a sensor in the base frame is not known (yet)."""


class DataError(IupPoseError):
    """A bag, sequence, trajectory or data set that does not have the expected layout."""


class NodeProcessError(IupPoseError):
    """The node's process ended when it should not have, or did not end when it should."""
