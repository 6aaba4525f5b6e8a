"""Generate config/vo.yaml: `python -m iup_pose_ros.node.params_file > config/vo.yaml`."""

from __future__ import annotations

import textwrap
from dataclasses import fields

import yaml

from iup_pose_ros.node.settings import PARAMETERS
from iup_pose_ros.odometry import OdometryConfig

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


if __name__ == "__main__":
    print(params_file(), end="")
