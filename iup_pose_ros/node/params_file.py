"""Parameter files of ROS 2: reading, and `python -m iup_pose_ros.node.params_file > config/vo.yaml`."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.node.settings import OF_ROS, PARAMETERS, unknown_parameter
from iup_pose_ros.odometry import OdometryConfig

NODE_NAME = "vo_node"
_PARAMETERS = ".ros__parameters."
_WIDTH = 110
_INDENT = " " * 4
_HEADER = """\
# All parameters of vo_node with their defaults, read when the node is configured; those marked with *
# can also be changed at run time.
# This file is generated: python -m iup_pose_ros.node.params_file > config/vo.yaml

/**:
  ros__parameters:
"""


def params_file() -> str:
    """Return the text of a ROS 2 parameter file with every parameter's description, range and default."""
    odometry = [setting.name for setting in fields(OdometryConfig)]
    groups = {
        "The node": [name for name in PARAMETERS if name not in odometry],
        "The odometry": odometry,
    }
    blocks = [_HEADER]
    for title, names in groups.items():
        blocks.append(f"{_INDENT}# ----- {title} -----\n")
        for parameter in (PARAMETERS[name] for name in names):
            mark, accepted = "* " if parameter.at_run_time else "", ""
            if parameter.minimum is not None:
                accepted = f"Range: {parameter.accepted}."
            elif parameter.choices:
                accepted = f"One of: {', '.join(parameter.choices)}."
            comment = f"{mark}{parameter.description} {accepted}".strip()
            indent = f"{_INDENT}# "
            lines = textwrap.wrap(comment, _WIDTH, initial_indent=indent, subsequent_indent=indent)
            value = yaml.safe_dump({parameter.name: parameter.default}).strip()
            blocks.append("\n".join([*lines, f"{_INDENT}{value}\n"]))
    return "\n".join(blocks)


class _Loader(yaml.SafeLoader):
    """Reads numbers as ROS does: 1e-3 without a point is one, too."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+"), list("-+0123456789")
)


def read_params_file(path: Path) -> dict[str, Any]:
    """Return the values of the node's parameters in a ROS 2 parameter file, by name.

    Entries of ``/**`` and of ``vo_node`` in any namespace are used, later ones before earlier ones;
    parameters that every ROS node has, such as use_sim_time, are left out.

    Raises:
        ConfigurationError: the file cannot be read, is not a parameter file, has no parameters of the node,
            or one of them does not exist; the message gives the most similar name.
    """
    try:
        content = _Loader(path.read_text(encoding="utf-8")).get_single_data()
    except OSError as error:
        raise ConfigurationError(f"params file {path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())
        raise ConfigurationError(f"params file {path} is not YAML: {problem}") from error
    entries = [(*key.partition(_PARAMETERS), value) for key, value in _flat({"": content})]
    if not entries or not all(separator for _, separator, _, _ in entries):
        raise ConfigurationError(
            f"params file {path} is not a ROS 2 parameter file; '{NODE_NAME}' or '/**' with the key "
            "ros__parameters is required"
        )
    nodes = {node: re.split("[./]", node)[-1] for node, _, _, _ in entries}
    values = {name: value for node, _, name, value in entries if nodes[node] in (NODE_NAME, "*", "**")}
    if not values:
        raise ConfigurationError(
            f"params file {path} is for {', '.join(node.strip('.') for node in nodes)}; '{NODE_NAME}' or "
            "'/**' is required"
        )
    for name in values:
        if name not in PARAMETERS and not name.startswith(OF_ROS):
            raise ConfigurationError(f"params file {path}: {unknown_parameter(name)}")
    return {name: value for name, value in values.items() if name in PARAMETERS}


def _flat(entries: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield key and value of nested entries; their keys are joined by points."""
    for key, value in entries.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


if __name__ == "__main__":
    print(params_file(), end="")
