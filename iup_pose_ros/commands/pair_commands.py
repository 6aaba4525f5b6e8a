"""`iup-pose evaluate pairs | megadepth | scannet` and `iup-pose calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iup_pose_ros.commands.conventions import says_errors, table_console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from iup_pose_ros.datasets.image_pair import DataSetPair
    from iup_pose_ros.estimators.network.options import NetworkOptions
    from iup_pose_ros.evaluation.pairs.report import PairsReport

EstimatorNames = Annotated[str, typer.Option("--estimator", help="Names, separated by commas.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="File for the figures.")]
PlotFolder = Annotated[
    Path | None, typer.Option("--plots", help="Folder for reliability.png and sparsification.png.")
]
MaxPairs = Annotated[int | None, typer.Option(min=1, help="At most so many pairs of a set.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the draw that --max-pairs makes.")]
Weights = Annotated[
    Path | None, typer.Option(help="Weights file of the network; by default the one that is shipped.")
]
Device = Annotated[str, typer.Option(help="Of the network: auto, cpu, cuda or cuda:N.")]

_ALL = "iup_pose,hybrid,epipolar_klt,epipolar_sift"


def register(app: typer.Typer, evaluate_app: typer.Typer) -> None:
    """Add the commands to `iup-pose` and `iup-pose evaluate`."""
    evaluate_app.command("pairs")(pairs)
    evaluate_app.command("megadepth")(megadepth)
    evaluate_app.command("scannet")(scannet)
    app.command("calibrate")(calibrate)


@says_errors
def pairs(
    folders: Annotated[list[Path], typer.Argument(help="Folders with a pairs.csv and its images.")],
    estimator: EstimatorNames = _ALL,
    json_file: JsonFile = None,
    plots: PlotFolder = None,
    max_pairs: MaxPairs = None,
    seed: Seed = 0,
    weights: Weights = None,
    device: Device = "auto",
) -> None:
    """Accuracy and honesty of estimators on image pairs with known relative pose."""
    from iup_pose_ros.estimators.network.options import NetworkOptions
    from iup_pose_ros.evaluation.pairs.evaluate import load_sets

    found = load_sets(folders)
    report = _evaluated(found, estimator, max_pairs, seed, NetworkOptions(weights, device))
    _show(report, json_file, plots)


@says_errors
def megadepth(
    root: Annotated[Path, typer.Argument(help="Folder of the images (holds Undistorted_SfM).")],
    scene_info: Annotated[
        Path, typer.Argument(help="Scene_info file (.npz) or a folder of them; MegaDepth-1500 has five.")
    ],
    estimator: EstimatorNames = _ALL,
    json_file: JsonFile = None,
    plots: PlotFolder = None,
    max_pairs: MaxPairs = None,
    seed: Seed = 0,
    weights: Weights = None,
    device: Device = "auto",
) -> None:
    """The same on MegaDepth pairs in the layout of LoFTR's release; a set is a scene_info file."""
    from iup_pose_ros.datasets.megadepth import load_megadepth
    from iup_pose_ros.estimators.network.options import NetworkOptions
    from iup_pose_ros.evaluation.pairs.evaluate import by_name

    found = by_name(load_megadepth(root, scene_info, with_depth=False))
    report = _evaluated(found, estimator, max_pairs, seed, NetworkOptions(weights, device))
    _show(report, json_file, plots)


@says_errors
def scannet(
    root: Annotated[Path, typer.Argument(help="Folder of the scans (scene0707_00, ...).")],
    index: Annotated[Path, typer.Argument(help="Index of pairs (.npz); for ScanNet-1500 test.npz.")],
    intrinsics: Annotated[Path, typer.Argument(help="intrinsics.npz, a matrix for every scan.")],
    estimator: EstimatorNames = _ALL,
    json_file: JsonFile = None,
    plots: PlotFolder = None,
    max_pairs: MaxPairs = None,
    seed: Seed = 0,
    weights: Weights = None,
    device: Device = "auto",
) -> None:
    """The same on ScanNet pairs in the layout of LoFTR's release, all as one set."""
    from iup_pose_ros.datasets.scannet import load_scannet
    from iup_pose_ros.estimators.network.options import NetworkOptions

    found = {"scannet": load_scannet(root, index, intrinsics, with_depth=False)}
    report = _evaluated(found, estimator, max_pairs, seed, NetworkOptions(weights, device))
    _show(report, json_file, plots)


@says_errors
def calibrate(
    weights: Annotated[Path, typer.Argument(help="Weights file to calibrate.")],
    folders: Annotated[list[Path], typer.Argument(help="Folders with a pairs.csv, not seen in training.")],
    output: Annotated[Path, typer.Option(help="Weights file to write.")],
    max_pairs: MaxPairs = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Fit the correction of standard deviations to errors on real pairs, and store it with the weights."""
    from iup_pose_ros.evaluation.pairs.evaluate import load_sets
    from iup_pose_ros.evaluation.pairs.fit_sigma_calibration import calibrated_weights, print_left_out

    console = table_console()
    before, after = calibrated_weights(
        weights, load_sets(folders), output, max_pairs=max_pairs, seed=seed, device=device, console=console
    )
    for title, report in (("before", before), ("after", after)):
        console.rule(title)
        report.print(console)
    if len(folders) > 1:
        console.rule("every set as calibrated on the others")
        print_left_out(before, console)


def _evaluated(
    sets: Mapping[str, Sequence[DataSetPair]],
    estimator: str,
    max_pairs: int | None,
    seed: int,
    network: NetworkOptions,
) -> PairsReport:
    from iup_pose_ros.evaluation.pairs.evaluate import create_estimators, evaluate_on

    estimators = create_estimators(estimator.split(","), network)
    return evaluate_on(sets, estimators, max_pairs, seed, table_console())


def _show(report: PairsReport, json_file: Path | None, plots: Path | None) -> None:
    report.print(table_console())
    if json_file is not None:
        report.write(json_file)
    if plots is not None:
        from iup_pose_ros.evaluation.pairs.plots import write_plots

        write_plots(report, plots)
