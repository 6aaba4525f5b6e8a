"""The ``iup-pose`` command.

Commands import their dependencies when they run, so that ``--help`` is fast and works without ROS.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from iup_pose_ros.blas import use_one_blas_thread
from iup_pose_ros.camera_config import CameraConfig
from iup_pose_ros.commands import bag_commands, bench_commands, pair_commands
from iup_pose_ros.commands.camera_options import (
    AllowFrameMismatch,
    ImageIsRectified,
    MaskFile,
    Mono16Range,
    RectifiedFov,
)
from iup_pose_ros.commands.conventions import EXIT_FAILED, report_errors
from iup_pose_ros.commands.node_options import ParamsFile, node_config
from iup_pose_ros.errors import DataError

use_one_blas_thread()
app = typer.Typer(
    help="Monocular visual odometry for ROS 2 with learned and classical relative pose estimators.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
evaluate_app = typer.Typer(help="Evaluate against ground truth.", no_args_is_help=True)
app.add_typer(evaluate_app, name="evaluate")

PlayedBag = Annotated[
    Path | None, typer.Option(help="rosbag2 recording to play: folder, .mcap or .db3 file.")
]
TruthOfBag = Annotated[
    Path | None, typer.Option(help="Ground truth of --bag: TUM trajectory T_world_camera.")
]
PlayedSequence = Annotated[
    Path | None,
    typer.Option(help="Image sequence to play: images/, timestamps.csv, intrinsics.yaml, groundtruth.tum."),
]
Rate = Annotated[
    float, typer.Option(min=0.0, help="Playback rate; 0: wait for the node so that no image is dropped.")
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Process every image without ROS instead of running the node.")
]


@app.command()
@report_errors
def demo(
    bag: PlayedBag = None,
    gt: TruthOfBag = None,
    sequence: PlayedSequence = None,
    output: Annotated[Path, typer.Option(help="Output folder.")] = Path("demo_output"),
    params_file: ParamsFile = None,
    estimator: Annotated[str, typer.Option(help="Relative pose estimator.")] = "hybrid",
    rate: Rate = 1.0,
    offline: Offline = False,
    image_is_rectified: ImageIsRectified = False,
    rectified_fov: RectifiedFov = 0.0,
    allow_frame_mismatch: AllowFrameMismatch = False,
    mono16_range: Mono16Range = "auto",
    mask_file: MaskFile = "",
) -> None:
    """Run the node on a recording (default: a rendered flight through a room) and evaluate it."""
    from rich.console import Console

    from iup_pose_ros.replay.demo import DemoOptions, run_demo
    from iup_pose_ros.replay.node_process import sigterm_interrupts

    if bag is not None and sequence is not None:
        raise DataError("--bag and --sequence are mutually exclusive; give one input")
    if gt is not None and bag is None:
        raise DataError("--gt is the ground truth of --bag; give --bag, too")
    camera = CameraConfig(image_is_rectified, rectified_fov, allow_frame_mismatch, mono16_range, mask_file)
    config = node_config(params_file, camera, estimator=estimator)
    options = DemoOptions(bag, gt, sequence, output, rate, offline, config)
    with sigterm_interrupts():
        failure = run_demo(options, Console())
    if failure:
        typer.echo(f"failed: {failure}", err=True)
        raise typer.Exit(EXIT_FAILED)


@app.command()
@report_errors
def info(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Show versions, devices, weights and network sizes; include it in bug reports."""
    from rich.console import Console

    from iup_pose_ros.info import collect_info, print_info

    collected = collect_info()
    if as_json:
        typer.echo(json.dumps(collected, indent=2))
    else:
        print_info(collected, Console())


@app.command()
@report_errors
def train(
    config: Annotated[Path, typer.Option(help="YAML training configuration; see config/train_small.yaml.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume from the newest checkpoint in the run folder.")
    ] = False,
) -> None:
    """Train the network.

    On multiple GPUs: torchrun --nproc-per-node N -m iup_pose_ros.cli train --config FILE
    """
    from rich.console import Console

    from iup_pose_ros.training.run_config import read_config
    from iup_pose_ros.training.trainer import train as train_network

    weights = train_network(read_config(config), resume, Console())
    typer.echo(f"weights: {weights}")


# After the commands above, which --help lists first.
bag_commands.register(app, evaluate_app)
pair_commands.register(app, evaluate_app)
bench_commands.register(app)

if __name__ == "__main__":
    app()
