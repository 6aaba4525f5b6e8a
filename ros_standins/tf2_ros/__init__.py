"""Stand-in for ROS 2's tf2_ros (Python): buffer, listener and broadcasters of transforms.

Holds the part of the package that the node uses, with the same signatures and behaviour (Kilted), for
environments without a ROS distribution.
"""

from .buffer import Buffer
from .exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TimeoutException,
    TransformException,
)
from .transform_broadcaster import StaticTransformBroadcaster, TransformBroadcaster
from .transform_listener import TransformListener

__all__ = [
    "Buffer",
    "ConnectivityException",
    "ExtrapolationException",
    "InvalidArgumentException",
    "LookupException",
    "StaticTransformBroadcaster",
    "TimeoutException",
    "TransformBroadcaster",
    "TransformException",
    "TransformListener",
]
