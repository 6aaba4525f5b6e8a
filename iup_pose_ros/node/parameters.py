"""Declaration, reading and validation of the node's ROS parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.node.declaration import Parameter
from iup_pose_ros.node.settings import OF_ROS, PARAMETERS, NodeConfig, unknown_parameter


def declare_parameters(node: Node) -> None:
    """Declare every parameter with its description and range.

    Raises:
        rclpy.exceptions.ParameterException: an override has the wrong type or is out of range.
    """
    for parameter in PARAMETERS.values():
        node.declare_parameter(parameter.name, parameter.default, descriptor(parameter))


def unknown_overrides(node: Node) -> list[str]:
    """Return a warning for each parameter override that names no declared parameter.

    rclpy ignores such overrides silently and has no public accessor for them: a release that stores them
    under another name yields no warnings.
    """
    given: Iterable[str] = getattr(node, "_parameter_overrides", {})
    return [
        unknown_parameter(name)
        for name in sorted(given)
        if name not in PARAMETERS and not name.startswith(OF_ROS)
    ]


def read_config(node: Node) -> NodeConfig:
    """Return the current values of the node's parameters.

    Raises:
        ConfigurationError: a value is not accepted.
    """
    return NodeConfig.from_parameters({name: node.get_parameter(name).value for name in PARAMETERS})


def change_parameters(
    node: Node, changes: Sequence[Any], configured: bool, apply: Callable[[NodeConfig], None]
) -> SetParametersResult:
    """Accept or reject a change; parameters declared elsewhere (use_sim_time, QoS overrides) are accepted.

    Args:
        node: owner of the parameters.
        changes: rclpy.Parameter objects.
        configured: whether the node is configured; then only run-time parameters may change.
        apply: called with the new settings of a configured node, before the parameters change, because
            ROS 2 Humble has no callback for after the change.
    """
    own = {change.name: change.value for change in changes if change.name in PARAMETERS}
    if not own:
        return SetParametersResult(successful=True)
    fixed = [name for name in own if not PARAMETERS[name].at_run_time]
    if fixed and configured:
        names = ", ".join(fixed)
        reason = f"{names} can only change while the node is unconfigured: deactivate and clean up first"
        return SetParametersResult(successful=False, reason=reason)
    current = {name: node.get_parameter(name).value for name in PARAMETERS}
    # If several overrides are invalid, each can be corrected separately.
    problem = _problem(own) or (_problem({**current, **own}) if not _problem(current) else "")
    if problem:
        return SetParametersResult(successful=False, reason=problem)
    if configured:
        apply(NodeConfig.from_parameters({**current, **own}))
    return SetParametersResult(successful=True)


def _problem(values: Mapping[str, Any]) -> str:
    """Return why the values are not accepted; empty if they are."""
    try:
        NodeConfig.from_parameters(values)
    except ConfigurationError as error:
        return str(error)
    return ""


def descriptor(parameter: Parameter) -> ParameterDescriptor:
    """Return what `ros2 param describe` shows; rclpy itself enforces the range."""
    described = ParameterDescriptor(name=parameter.name, description=parameter.description)
    if parameter.minimum is None or parameter.maximum is None:
        described.additional_constraints = parameter.accepted
        return described
    low, high = parameter.minimum, parameter.maximum
    if isinstance(parameter.default, int):
        described.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
    else:
        span = FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
        described.floating_point_range = [span]
    return described
