"""The ``iup-pose`` command. Commands import what they need: help is fast and works without ROS."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import typer

from iup_pose_ros.errors import DataError, IupPoseError

_EXIT_FAILED = 1
_EXIT_BAD_INPUT = 2
_TABLE_WIDTH = 110  # of tables in files and pipes, which have no width of their own

app = typer.Typer(
    help="Visual odometry for ROS 2 from learned and classical relative camera poses.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
evaluate_app = typer.Typer(help="Measure accuracy against ground truth.", no_args_is_help=True)
train_app = typer.Typer(invoke_without_command=True)
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(train_app, name="train")

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def _says_errors(command: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The command, with this package's errors as one sentence on stderr and exit code 2."""

    @functools.wraps(command)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return command(*args, **kwargs)
        except IupPoseError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(_EXIT_BAD_INPUT) from error

    return wrapped


@app.command()
@_says_errors
def demo(
    bag: Annotated[Path | None, typer.Option(help="rosbag2 (folder or .mcap) to play.")] = None,
    gt: Annotated[Path | None, typer.Option(help="Ground truth of --bag: TUM file, T_world_camera.")] = None,
    sequence: Annotated[
        Path | None,
        typer.Option(
            help="Folder with images/, timestamps.csv, intrinsics.yaml and groundtruth.tum to play."
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for what is written.")] = Path("demo_output"),
    estimator: Annotated[str, typer.Option(help="Relative-pose estimator.")] = "epipolar_klt",
    rate: Annotated[
        float, typer.Option(min=0.0, help="Speed; 0 waits for the node, dropping nothing.")
    ] = 1.0,
    offline: Annotated[bool, typer.Option("--offline", help="Every frame, without ROS.")] = False,
) -> None:
    """Run the node on a recording, by default a rendered flight through a room, and evaluate it."""
    from rich.console import Console

    from iup_pose_ros.replay.demo import DemoOptions, run_demo
    from iup_pose_ros.replay.process import sigterm_interrupts

    if bag is not None and sequence is not None:
        raise DataError("--bag and --sequence are two inputs; give one")
    if gt is not None and bag is None:
        raise DataError("--gt is the ground truth of --bag; give both")
    options = DemoOptions(bag, gt, sequence, output, estimator, rate, offline)
    with sigterm_interrupts():
        failure = run_demo(options, Console())
    if failure:
        typer.echo(f"failed: {failure}", err=True)
        raise typer.Exit(_EXIT_FAILED)


@evaluate_app.command("pairs")
@_says_errors
def pairs(
    folders: Annotated[list[Path], typer.Argument(help="Folders with a pairs.csv and its images.")],
    estimator: Annotated[
        str, typer.Option(help="Names, separated by commas.")
    ] = "epipolar_klt,epipolar_sift",
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the figures.")] = None,
    max_pairs: Annotated[int | None, typer.Option(min=1, help="At most so many pairs of a folder.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw that --max-pairs makes.")] = 0,
) -> None:
    """Accuracy and honesty of estimators on image pairs with known relative pose."""
    from rich.console import Console

    from iup_pose_ros.evaluation.pairs import evaluate_pairs

    console = Console()
    if not console.is_terminal:
        console.width = _TABLE_WIDTH
    names = [name.strip() for name in estimator.split(",")]
    report = evaluate_pairs(folders, names, max_pairs, seed, console)
    report.print(console)
    if json_file is not None:
        report.write(json_file)


@app.command()
@_says_errors
def info(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Versions, devices, weights and sizes of the network: what a bug report should name."""
    from rich.console import Console

    from iup_pose_ros.info import collect_info, print_info

    collected = collect_info()
    if as_json:
        typer.echo(json.dumps(collected, indent=2))
    else:
        print_info(collected, Console())


@train_app.callback()
@_says_errors
def train(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="YAML file, see config/train_small.yaml for what it can hold.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint in the run's folder.")
    ] = False,
) -> None:
    """Train the network.

    On several GPUs: torchrun --nproc-per-node N -m iup_pose_ros.cli train --config FILE
    """
    if context.invoked_subcommand is not None:
        return
    if config is None:
        typer.echo(context.get_help())
        raise typer.Exit(_EXIT_BAD_INPUT)
    from rich.console import Console

    from iup_pose_ros.training.run_config import read_config
    from iup_pose_ros.training.trainer import train as train_network

    weights = train_network(read_config(config), resume, Console())
    typer.echo(f"weights: {weights}")


@train_app.command(
    add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
@_says_errors
def overfit(context: typer.Context) -> None:
    """Check that the network can learn a few rendered pairs by heart; `overfit --help` tells the options."""
    from iup_pose_ros.training.overfit import main

    main(context.args)


if __name__ == "__main__":
    app()
