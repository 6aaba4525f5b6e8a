"""Writes config/vo.yaml from the declarations: `python -m iup_pose_ros.node.params_file > config/vo.yaml`."""

from __future__ import annotations

import textwrap
from dataclasses import fields

import yaml

from iup_pose_ros.node.declaration import Parameter
from iup_pose_ros.node.settings import PARAMETERS
from iup_pose_ros.odometry import OdometryConfig

_WIDTH = 110
_INDENT = " " * 4
_HEADER = """\
# Every parameter of vo_node with its default. They are read when the node is configured; those marked with *
# can change at run time, too.
# This file is made from the node's declarations: python -m iup_pose_ros.node.params_file > config/vo.yaml

/**:
  ros__parameters:
"""


def params_file() -> str:
    """The text of a ROS 2 parameter file with every parameter's description, range and default."""
    odometry = [setting.name for setting in fields(OdometryConfig)]
    groups = {
        "The node": [name for name in PARAMETERS if name not in odometry],
        "The odometry": odometry,
    }
    blocks = [_HEADER]
    for title, names in groups.items():
        blocks.append(f"{_INDENT}# ----- {title} -----\n")
        blocks += [_entry(PARAMETERS[name]) for name in names]
    return "\n".join(blocks)


def _entry(parameter: Parameter) -> str:
    mark = "* " if parameter.at_run_time else ""
    comment = f"{mark}{parameter.description} {_accepted(parameter)}".strip()
    lines = textwrap.wrap(comment, _WIDTH, initial_indent=f"{_INDENT}# ", subsequent_indent=f"{_INDENT}# ")
    value = yaml.safe_dump({parameter.name: parameter.default}).strip()
    return "\n".join([*lines, f"{_INDENT}{value}\n"])


def _accepted(parameter: Parameter) -> str:
    accepted = parameter.accepted
    if parameter.minimum is not None:
        return f"Range: {accepted}."
    return f"{accepted[:1].upper()}{accepted[1:]}." if parameter.choices else ""


if __name__ == "__main__":
    print(params_file(), end="")
