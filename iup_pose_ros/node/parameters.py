"""The node's settings as ROS parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.node.settings import PARAMETERS, NodeConfig, Parameter


def declare_parameters(node: Node) -> None:
    """Declares every parameter with its description and range.

    Raises:
        rclpy.exceptions.ParameterException: a value given at start has the wrong type or is out of range.
    """
    for parameter in PARAMETERS.values():
        node.declare_parameter(parameter.name, parameter.default, descriptor(parameter))


def read_config(node: Node) -> NodeConfig:
    """The settings that the node's parameters hold now.

    Raises:
        ConfigurationError: a value that is not accepted.
    """
    return NodeConfig.from_parameters({name: node.get_parameter(name).value for name in PARAMETERS})


def check_change(node: Node, changes: Sequence[Any], configured: bool) -> SetParametersResult:
    """Whether parameters may change now; parameters of others (use_sim_time, QoS overrides) always may.

    Settings are read when the node is configured, so that a change later would be silently without effect.
    """
    own = {change.name: change.value for change in changes if change.name in PARAMETERS}
    if own and configured:
        names = ", ".join(own)
        reason = f"{names} can change only while the node is unconfigured: deactivate and clean it up first"
        return SetParametersResult(successful=False, reason=reason)
    current = {name: node.get_parameter(name).value for name in PARAMETERS if node.has_parameter(name)}
    try:
        NodeConfig.from_parameters({**current, **own})
    except ConfigurationError as error:
        return SetParametersResult(successful=False, reason=str(error))
    return SetParametersResult(successful=True)


def descriptor(parameter: Parameter) -> ParameterDescriptor:
    """What `ros2 param describe` shows; rclpy itself enforces the range."""
    described = ParameterDescriptor(name=parameter.name, description=parameter.description)
    if parameter.choices:
        described.additional_constraints = f"one of: {', '.join(parameter.choices)}"
    if parameter.minimum is not None and parameter.maximum is not None:
        low, high = parameter.minimum, parameter.maximum
        if isinstance(parameter.default, int):
            described.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
        else:
            span = FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
            described.floating_point_range = [span]
    return described
