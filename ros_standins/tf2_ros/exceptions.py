"""Reasons why a transform cannot be given."""

from __future__ import annotations


class TransformException(Exception):
    """Base of all of them."""


class LookupException(TransformException):
    """A frame is unknown."""


class ConnectivityException(TransformException):
    """No chain of transforms connects the two frames."""


class ExtrapolationException(TransformException):
    """The time lies outside the samples of a transform on the way."""


class InvalidArgumentException(TransformException):
    """A frame name is empty or starts with a slash."""


class TimeoutException(TransformException):
    """A transform did not come in time."""
