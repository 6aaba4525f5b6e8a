"""`iup-pose evaluate bag` and `iup-pose convert sequence | bag`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iup_pose_ros.commands.camera_options import (
    AllowFrameMismatch,
    ImageIsRectified,
    Mono16Range,
    RectifiedFov,
)
from iup_pose_ros.commands.conventions import EXIT_FAILED, says_errors, table_console
from iup_pose_ros.commands.pair_commands import Device, Weights
from iup_pose_ros.errors import DataError

convert_app = typer.Typer(help="Recordings from and into rosbag2.", no_args_is_help=True)

ImageTopic = Annotated[str | None, typer.Option(help="Of the camera, where the bag holds several.")]
InfoTopic = Annotated[str | None, typer.Option(help="The camera's camera_info, where not beside its images.")]
TruthTopic = Annotated[
    str | None,
    typer.Option(
        help="Topic with ground truth: Odometry, Pose(WithCovariance)Stamped, TransformStamped or TFMessage."
    ),
]
TruthFrame = Annotated[
    str | None,
    typer.Option(
        help="Frame whose poses the ground truth holds, where not the camera's own; see /tf_static."
    ),
]


def register(app: typer.Typer, evaluate_app: typer.Typer) -> None:
    """Add the commands to `iup-pose` and `iup-pose evaluate`."""
    evaluate_app.command("bag")(bag)
    app.command("animate")(animate)
    app.add_typer(convert_app, name="convert")


@says_errors
def bag(
    bag: Annotated[Path, typer.Argument(help="rosbag2 recording: folder, .mcap or .db3 file.")],
    gt: Annotated[Path | None, typer.Option(help="Ground truth: TUM or KITTI file, T_world_camera.")] = None,
    gt_topic: TruthTopic = None,
    gt_frame: TruthFrame = None,
    image_topic: ImageTopic = None,
    info_topic: InfoTopic = None,
    estimators: Annotated[
        str, typer.Option(help="Names, separated by commas.")
    ] = "iup_pose,hybrid,epipolar_klt",
    real_time: Annotated[
        bool,
        typer.Option(
            "--real-time/--every-frame",
            help="Play the bag into the node over DDS, or process every image without ROS, reproducibly.",
        ),
    ] = False,
    rate: Annotated[float, typer.Option(min=0.0, help="Speed of --real-time; 0 waits for the node.")] = 1.0,
    recorded: Annotated[
        Path | None,
        typer.Option(help="rosbag2 of a node's outputs while BAG played: evaluated instead of running."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for report.html, metrics.json, metrics.csv, edges.csv, *.tum.")
    ] = None,
    weights: Weights = None,
    device: Device = "auto",
    image_is_rectified: ImageIsRectified = False,
    rectified_fov: RectifiedFov = 0.0,
    allow_frame_mismatch: AllowFrameMismatch = False,
    mono16_range: Mono16Range = "auto",
) -> None:
    """Visual odometry on a recording: how good against the truth and other estimators, and where it fails."""
    from iup_pose_ros.camera_config import CameraConfig
    from iup_pose_ros.estimators.network.options import NetworkOptions
    from iup_pose_ros.replay.bag_evaluation import BagEvaluationOptions, TruthSource, evaluate_bag
    from iup_pose_ros.replay.node_process import NodeProcessError, sigterm_interrupts

    if gt is not None and gt_topic is not None:
        raise DataError("--gt and --gt-topic are two sources of ground truth; give one")
    if recorded is not None and real_time:
        raise DataError("--recorded evaluates a run that is over, --real-time makes one; give one")
    names = tuple(dict.fromkeys(name.strip() for name in estimators.split(",")))
    truth = TruthSource(gt, gt_topic, gt_frame)
    network = NetworkOptions(weights, device)
    camera = CameraConfig(image_is_rectified, rectified_fov, allow_frame_mismatch, mono16_range)
    options = BagEvaluationOptions(
        bag, names, truth, image_topic, info_topic, real_time, rate, recorded, report, network, camera
    )
    with sigterm_interrupts():
        try:
            evaluate_bag(options, table_console())
        except NodeProcessError as error:
            typer.echo(f"failed: {error}", err=True)
            raise typer.Exit(EXIT_FAILED) from error


@says_errors
def animate(
    bag: Annotated[Path, typer.Argument(help="rosbag2 recording: folder, .mcap or .db3 file.")],
    file: Annotated[Path, typer.Argument(help="Animation to write: .webp or .gif.")],
    gt: Annotated[Path | None, typer.Option(help="Ground truth: TUM or KITTI file, T_world_camera.")] = None,
    estimator: Annotated[str, typer.Option(help="Relative-pose estimator.")] = "hybrid",
    every: Annotated[int, typer.Option(min=1, help="Show one of so many images.")] = 4,
    rate: Annotated[float, typer.Option(min=0.01, help="Speed; 1 is that of the recording.")] = 2.0,
) -> None:
    """Animate a recording: the debug image beside the growing trajectory."""
    from iup_pose_ros.bags.ground_truth import read_ground_truth_file
    from iup_pose_ros.bags.reader import BagReader
    from iup_pose_ros.estimators.registry import create_estimator
    from iup_pose_ros.progress import progress_bar
    from iup_pose_ros.replay.animation import write_animation

    with BagReader(bag) as reader, progress_bar(table_console(), "drawing") as advance:
        truth = None if gt is None else read_ground_truth_file(gt, reader).trajectory
        write_animation(
            file, reader, create_estimator(estimator), truth, every, rate, lambda: advance(reader.image_count)
        )


@convert_app.command("sequence")
@says_errors
def sequence(
    folder: Annotated[
        Path, typer.Argument(help="Folder with images/, timestamps.csv, intrinsics.yaml, groundtruth.tum.")
    ],
    bag: Annotated[Path, typer.Argument(help="rosbag2 folder to make.")],
    storage: Annotated[str, typer.Option(help="mcap or sqlite3.")] = "mcap",
    compressed: Annotated[
        bool, typer.Option("--compressed", help="Copy the image files as they are, as CompressedImage.")
    ] = False,
) -> None:
    """Make a rosbag2 recording of a folder of images; its ground truth goes to /ground_truth."""
    from iup_pose_ros.bags.sequence import convert_sequence
    from iup_pose_ros.progress import progress_bar

    with progress_bar(table_console(), "writing the bag") as advance:
        convert_sequence(
            folder, bag, storage=storage, compressed=compressed, progress=lambda _, total: advance(total)
        )


@convert_app.command("bag")
@says_errors
def bag_to_folder(
    bag: Annotated[Path, typer.Argument(help="rosbag2 recording: folder, .mcap or .db3 file.")],
    folder: Annotated[Path, typer.Argument(help="Folder to make.")],
    gt_topic: TruthTopic = None,
    gt_frame: TruthFrame = None,
    image_topic: ImageTopic = None,
    info_topic: InfoTopic = None,
    image_is_rectified: ImageIsRectified = False,
    rectified_fov: RectifiedFov = 0.0,
    allow_frame_mismatch: AllowFrameMismatch = False,
    mono16_range: Mono16Range = "auto",
) -> None:
    """Make a folder of images, calibration and, with --gt-topic, ground truth of a rosbag2 recording."""
    from iup_pose_ros.bags.ground_truth import read_ground_truth_topic
    from iup_pose_ros.bags.reader import BagReader
    from iup_pose_ros.bags.sequence_writer import write_sequence
    from iup_pose_ros.camera_config import CameraConfig
    from iup_pose_ros.progress import progress_bar

    camera = CameraConfig(image_is_rectified, rectified_fov, allow_frame_mismatch, mono16_range)
    with BagReader(bag, image_topic, info_topic, camera) as reader:
        truth = None if gt_topic is None else read_ground_truth_topic(gt_topic, reader, gt_frame)
        with progress_bar(table_console(), "writing the images") as advance:
            trajectory = None if truth is None else truth.trajectory
            write_sequence(reader, folder, trajectory, lambda: advance(reader.image_count))
        if truth is not None and truth.note:
            typer.echo(f"Beware: {truth.note}.", err=True)
