"""`iup-pose bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iup_pose_ros.commands.conventions import report_errors, table_console
from iup_pose_ros.commands.pair_commands import Device, Weights
from iup_pose_ros.errors import ConfigurationError

Parts = Annotated[str, typer.Option(help="Comma-separated: network, estimators, odometry, node.")]
Estimators = Annotated[str, typer.Option(help="Comma-separated estimator names; empty: all installed ones.")]
Sizes = Annotated[str, typer.Option(help="Comma-separated sizes of the images in pixels.")]
Precisions = Annotated[
    str, typer.Option(help="Comma-separated: auto, float32, bfloat16; on CUDA also float16.")
]
Threads = Annotated[
    str, typer.Option(help="Comma-separated numbers of threads of torch and OpenCV; not of the node.")
]
Batches = Annotated[str, typer.Option(help="Comma-separated batch sizes of the network's stages.")]
Tracks = Annotated[str, typer.Option(help="Comma-separated maximum numbers of tracks of the odometry.")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write machine and run times to this JSON file.")
]
Accuracy = Annotated[Path | None, typer.Option(help="File of `evaluate pairs --json`, for --plot.")]
Plot = Annotated[Path | None, typer.Option(help="Write a plot of accuracy over time to this image file.")]


def register(app: typer.Typer) -> None:
    """Add the command `bench` to the command line."""
    app.command("bench")(bench)


@report_errors
def bench(
    parts: Parts = "network,estimators,odometry,node",
    estimator: Estimators = "",
    sizes: Sizes = "640x480,1920x1080",
    precisions: Precisions = "auto",
    threads: Threads = "1",
    batches: Batches = "1",
    tracks: Tracks = "400",
    repeats: Annotated[int, typer.Option(min=1, help="Number of measured calls or images.")] = 30,
    warm_up: Annotated[
        int, typer.Option(min=0, help="Number of calls or images before the measured ones.")
    ] = 3,
    weights: Weights = None,
    device: Device = "auto",
    json_file: JsonFile = None,
    accuracy: Accuracy = None,
    plot: Plot = None,
) -> None:
    """Measure run times of network, estimators, odometry and node on images of the rendered demo scene."""
    from iup_pose_ros.benchmark.bench_report import print_table, to_json, write_accuracy_plot
    from iup_pose_ros.benchmark.run_benchmark import BenchmarkOptions, describe_machine, run_benchmark
    from iup_pose_ros.benchmark.stages import Repeats
    from iup_pose_ros.estimators.network.options import NetworkOptions
    from iup_pose_ros.evaluation.json_document import write_json

    if (accuracy is None) != (plot is None):
        raise ConfigurationError("--accuracy and --plot are given together, or neither is")
    options = BenchmarkOptions(
        parts=_listed(parts),
        estimators=_listed(estimator),
        sizes=[_size(text) for text in _listed(sizes)],
        precisions=_listed(precisions),
        threads=[_integer("threads", text) for text in _listed(threads)],
        batches=[_integer("batches", text) for text in _listed(batches)],
        tracks=[_integer("tracks", text) for text in _listed(tracks)],
        repeats=Repeats(repeats, warm_up),
        network=NetworkOptions(weights, device),
    )
    machine, console, measurements = describe_machine(), table_console(), []
    with console.status("") as status:
        for row in run_benchmark(options):
            measurements.append(row)
            status.update(f"{row.part}: {row.name}")
            if json_file is not None:  # after every row, so that an interrupted run keeps what it measured
                write_json(json_file, to_json(measurements, machine))
    print_table(measurements, machine, console)
    if accuracy is not None and plot is not None:
        write_accuracy_plot(measurements, accuracy, plot)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return _integer("sizes", width), _integer("sizes", height)


def _integer(option: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigurationError(f"--{option}: {text!r} is not an integer") from None
