"""Command line options for the node's parameters, and the settings that follow from them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iup_pose_ros.camera_config import CameraConfig

if TYPE_CHECKING:
    from iup_pose_ros.node.settings import NodeConfig

ParamsFile = Annotated[
    Path | None,
    typer.Option(
        help="ROS 2 parameter file of vo_node, such as config/vo.yaml; other options replace its values."
    ),
]


def node_config(params_file: Path | None, camera: CameraConfig, **options: Any) -> NodeConfig:
    """Return the node's settings by a parameter file and command line options.

    Options that are not the parameter's default replace the value of the file.

    Args:
        params_file: the file; None: all parameters have their defaults.
        camera: options for reading images and camera_info.
        options: other options by the name of their parameter.

    Raises:
        ConfigurationError: the file is unusable, or a value is not accepted.
    """
    from iup_pose_ros.node.params_file import read_params_file
    from iup_pose_ros.node.settings import PARAMETERS, NodeConfig

    values = {} if params_file is None else read_params_file(params_file)
    options |= asdict(camera)
    given = {name: value for name, value in options.items() if value != PARAMETERS[name].default}
    return NodeConfig.from_parameters({**values, **given})
