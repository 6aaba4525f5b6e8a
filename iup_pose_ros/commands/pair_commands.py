"""`iup-pose evaluate pairs | stress | megadepth | scannet` and `iup-pose calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iup_pose_ros.commands.conventions import report_errors, table_console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from iup_pose_ros.datasets.image_pair import DataSetPair
    from iup_pose_ros.estimators.network.options import NetworkOptions
    from iup_pose_ros.evaluation.pairs.report import PairsReport

EstimatorNames = Annotated[str, typer.Option("--estimator", help="Comma-separated estimator names.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the metrics to this JSON file.")]
PlotFolder = Annotated[
    Path | None,
    typer.Option("--plots", help="Write plots of reliability and sparsification to this folder."),
]
MaxPairs = Annotated[
    int | None, typer.Option(min=1, help="Maximum number of pairs per set, sampled at random.")
]
Seed = Annotated[int, typer.Option(min=0, help="Random seed for --max-pairs.")]
Weights = Annotated[
    Path | None,
    typer.Option(help="Network weights: a file, or small or medium (shipped).", show_default="small"),
]
Device = Annotated[str, typer.Option(help="Device of the network: auto, cpu, cuda or cuda:N.")]

_ALL = "iup_pose,hybrid,epipolar_klt,epipolar_sift"


def register(app: typer.Typer, evaluate_app: typer.Typer) -> None:
    """Add `evaluate pairs | stress | megadepth | scannet` and `calibrate` to the command line."""
    evaluate_app.command("pairs")(pairs)
    evaluate_app.command("stress")(stress)
    evaluate_app.command("megadepth")(megadepth)
    evaluate_app.command("scannet")(scannet)
    app.command("calibrate")(calibrate)


@report_errors
def pairs(
    folders: Annotated[list[Path], typer.Argument(help="Folders that hold a pairs.csv and its images.")],
    estimator: EstimatorNames = _ALL,
    json_file: JsonFile = None,
    plots: PlotFolder = None,
    max_pairs: MaxPairs = None,
    seed: Seed = 0,
    weights: Weights = None,
    device: Device = "auto",
) -> None:
    """Evaluate pose accuracy and covariance consistency on image pairs with known relative pose."""
    from iup_pose_ros.estimators.network.options import NetworkOptions
    from iup_pose_ros.evaluation.pairs.evaluate import load_sets, splits_by_parent

    found, splits = load_sets(folders), splits_by_parent(folders)
    report = _evaluate(found, estimator, max_pairs, seed, NetworkOptions(weights, device), splits)
    _output(report, json_file, plots)


@report_errors
def stress(
    folders: Annotated[list[Path], typer.Argument(help="Folders that hold a pairs.csv and its images.")],
    degrade: Annotated[
        str, typer.Option(help="Comma-separated degradations, e.g. none,blur,dark; default: all.")
    ] = "",
    estimator: EstimatorNames = _ALL,
    json_file: JsonFile = None,
    max_pairs: MaxPairs = None,
    seed: Seed = 0,
    weights: Weights = None,
    device: Device = "auto",
) -> None:
    """Evaluate on image pairs degraded by blur, darkness, weather, sensor faults and moving objects."""
    from iup_pose_ros.estimators.network.options import NetworkOptions
    from iup_pose_ros.evaluation.pairs.degradations import DEGRADATIONS
    from iup_pose_ros.evaluation.pairs.evaluate import create_estimators, load_sets
    from iup_pose_ros.evaluation.pairs.stress import evaluate_stress

    names = [name.strip() for name in degrade.split(",")] if degrade else list(DEGRADATIONS)
    estimators = create_estimators(estimator.split(","), NetworkOptions(weights, device))
    console = table_console()
    report = evaluate_stress(load_sets(folders), estimators, names, max_pairs, seed, console)
    report.print(console)
    if json_file is not None:
        report.write(json_file)


@report_errors
def megadepth(
    root: Annotated[Path, typer.Argument(help="Image folder that contains Undistorted_SfM.")],
    scene_info: Annotated[
        Path, typer.Argument(help="scene_info file (.npz) or folder of them; MegaDepth-1500 has five.")
    ],
    estimator: EstimatorNames = _ALL,
    json_file: JsonFile = None,
    plots: PlotFolder = None,
    max_pairs: MaxPairs = None,
    seed: Seed = 0,
    weights: Weights = None,
    device: Device = "auto",
) -> None:
    """Evaluate on MegaDepth pairs in LoFTR's file layout; each scene_info file is one set."""
    from iup_pose_ros.datasets.megadepth import load_megadepth
    from iup_pose_ros.estimators.network.options import NetworkOptions
    from iup_pose_ros.evaluation.pairs.evaluate import by_name

    found = by_name(load_megadepth(root, scene_info, with_depth=False))
    report = _evaluate(found, estimator, max_pairs, seed, NetworkOptions(weights, device))
    _output(report, json_file, plots)


@report_errors
def scannet(
    root: Annotated[Path, typer.Argument(help="Folder with the scans (scene0707_00, ...).")],
    index: Annotated[Path, typer.Argument(help="Pair index (.npz); test.npz for ScanNet-1500.")],
    intrinsics: Annotated[Path, typer.Argument(help="intrinsics.npz with one camera matrix per scan.")],
    estimator: EstimatorNames = _ALL,
    json_file: JsonFile = None,
    plots: PlotFolder = None,
    max_pairs: MaxPairs = None,
    seed: Seed = 0,
    weights: Weights = None,
    device: Device = "auto",
) -> None:
    """Evaluate on ScanNet pairs in LoFTR's file layout, all as one set."""
    from iup_pose_ros.datasets.scannet import load_scannet
    from iup_pose_ros.estimators.network.options import NetworkOptions

    found = {"scannet": load_scannet(root, index, intrinsics, with_depth=False)}
    report = _evaluate(found, estimator, max_pairs, seed, NetworkOptions(weights, device))
    _output(report, json_file, plots)


@report_errors
def calibrate(
    weights: Annotated[Path, typer.Argument(help="Weights file to calibrate.")],
    folders: Annotated[
        list[Path], typer.Argument(help="Folders with a pairs.csv that were not used for training.")
    ],
    output: Annotated[Path, typer.Option(help="Weights file to write.")],
    max_pairs: MaxPairs = None,
    seed: Seed = 0,
    device: Device = "auto",
    second_network: Annotated[
        bool,
        typer.Option(help="Calibrate as second network of the hybrid estimator, beside the shipped weights."),
    ] = False,
) -> None:
    """Fit the inlier model and the sigma calibrations to real image pairs and store them with the weights."""
    from iup_pose_ros.evaluation.pairs.calibrate_weights import calibrate_weights
    from iup_pose_ros.evaluation.pairs.evaluate import load_sets
    from iup_pose_ros.evaluation.pairs.fit_sigma_calibration import print_leave_one_out

    console = table_console()
    sets = load_sets(folders)
    report = calibrate_weights(weights, sets, output, console, max_pairs, seed, device, second_network)
    console.rule("leave-one-out: inlier model of other scenes, sigmas not calibrated")
    report.print(console)
    console.rule("leave-one-out: sigmas calibrated on other scenes")
    print_leave_one_out(report, console)


def _evaluate(
    sets: Mapping[str, Sequence[DataSetPair]],
    estimator: str,
    max_pairs: int | None,
    seed: int,
    network: NetworkOptions,
    splits: Mapping[str, Sequence[str]] | None = None,
) -> PairsReport:
    from iup_pose_ros.evaluation.pairs.evaluate import create_estimators, evaluate_on

    estimators = create_estimators(estimator.split(","), network)
    return evaluate_on(sets, estimators, max_pairs, seed, table_console(), splits)


def _output(report: PairsReport, json_file: Path | None, plots: Path | None) -> None:
    report.print(table_console())
    if json_file is not None:
        report.write(json_file)
    if plots is not None:
        from iup_pose_ros.evaluation.pairs.plots import write_plots

        write_plots(report, plots)
