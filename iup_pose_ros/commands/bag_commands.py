"""`iup-pose evaluate bag` and `iup-pose convert sequence | bag`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from iup_pose_ros.camera_config import CameraConfig
from iup_pose_ros.commands.camera_options import (
    AllowFrameMismatch,
    DepthTopic,
    ImageIsRectified,
    ImuTopic,
    MaskFile,
    MaskTopic,
    Mono16Range,
    RangeTopic,
    RectifiedFov,
    WheelOdometryTopic,
)
from iup_pose_ros.commands.conventions import EXIT_FAILED, report_errors, table_console
from iup_pose_ros.commands.node_options import ParamsFile, node_config
from iup_pose_ros.commands.pair_commands import Device, Weights
from iup_pose_ros.errors import DataError

convert_app = typer.Typer(help="Convert image sequences to and from rosbag2.", no_args_is_help=True)

_ESTIMATORS = "iup_pose,hybrid,epipolar_klt"

BagPath = Annotated[Path, typer.Argument(help="rosbag2 recording: folder, .mcap or .db3 file.")]
ImageTopic = Annotated[
    str | None, typer.Option(help="Image topic; required if the bag has more than one camera.")
]
InfoTopic = Annotated[
    str | None, typer.Option(help="CameraInfo topic; default: camera_info in the image topic's namespace.")
]
TruthFile = Annotated[
    Path | None, typer.Option(help="Ground-truth trajectory T_world_camera: TUM or KITTI file.")
]
TruthTopic = Annotated[
    str | None,
    typer.Option(
        help="Ground-truth topic: Odometry, Pose(WithCovariance)Stamped, TransformStamped or TFMessage."
    ),
]
TruthFrame = Annotated[
    str | None,
    typer.Option(help="Frame of the ground-truth poses if not the camera's; must be in /tf_static."),
]
Estimators = Annotated[
    str | None,
    typer.Option(help=f"Comma-separated names; default: that of --params-file, or {_ESTIMATORS}."),
]
RealTime = Annotated[
    bool,
    typer.Option(
        "--real-time/--every-frame",
        help="Play the bag to the live node over DDS, or process every image offline (reproducible).",
    ),
]
Rate = Annotated[
    float, typer.Option(min=0.0, help="Playback rate of --real-time; 0: as fast as the node processes.")
]
Recorded = Annotated[
    Path | None,
    typer.Option(help="rosbag2 of the node's outputs on BAG; evaluate it instead of running the node."),
]
Report = Annotated[
    Path | None,
    typer.Option(help="Output folder for report.html, metrics.json, metrics.csv, edges.csv and *.tum."),
]


def register(app: typer.Typer, evaluate_app: typer.Typer) -> None:
    """Add the commands `evaluate bag`, `animate` and `convert` to the command line."""
    evaluate_app.command("bag")(bag)
    app.command("animate")(animate)
    app.add_typer(convert_app, name="convert")
    app.command("bag-camera")(bag_camera)
    app.command("doctor")(doctor)


@report_errors
def bag(
    bag: BagPath,
    gt: TruthFile = None,
    gt_topic: TruthTopic = None,
    gt_frame: TruthFrame = None,
    image_topic: ImageTopic = None,
    info_topic: InfoTopic = None,
    params_file: ParamsFile = None,
    estimators: Estimators = None,
    real_time: RealTime = False,
    rate: Rate = 1.0,
    recorded: Recorded = None,
    report: Report = None,
    weights: Weights = None,
    device: Device = "auto",
    image_is_rectified: ImageIsRectified = False,
    rectified_fov: RectifiedFov = 0.0,
    allow_frame_mismatch: AllowFrameMismatch = False,
    mono16_range: Mono16Range = "auto",
    mask_file: MaskFile = "",
    mask_topic: MaskTopic = None,
    depth_topic: DepthTopic = None,
    range_topic: RangeTopic = None,
    wheel_odometry_topic: WheelOdometryTopic = None,
    imu_topic: ImuTopic = None,
) -> None:
    """Run visual odometry on a rosbag and compare it with ground truth."""
    from iup_pose_ros.bags.topics import SensorTopics
    from iup_pose_ros.replay.bag_evaluation import BagEvaluationOptions, TruthSource, evaluate_bag
    from iup_pose_ros.replay.node_process import sigterm_interrupts

    if gt is not None and gt_topic is not None:
        raise DataError("--gt and --gt-topic are two sources of ground truth; give one")
    sensors = SensorTopics(mask_topic, depth_topic, range_topic, wheel_odometry_topic, imu_topic)
    if recorded is not None and (real_time or params_file is not None or sensors != SensorTopics()):
        raise DataError(
            "--recorded evaluates a past run; omit --real-time, --params-file and topics of sensors"
        )
    camera = CameraConfig(image_is_rectified, rectified_fov, allow_frame_mismatch, mono16_range, mask_file)
    config = node_config(params_file, camera, weights=str(weights or ""), device=device)
    listed = estimators or (_ESTIMATORS if params_file is None else config.estimator)
    names = tuple(dict.fromkeys(name.strip() for name in listed.split(",")))
    truth = TruthSource(gt, gt_topic, gt_frame)
    options = BagEvaluationOptions(
        bag, names, truth, image_topic, info_topic, real_time, rate, recorded, report, config, sensors
    )
    with sigterm_interrupts():
        evaluate_bag(options, table_console())


@report_errors
def animate(
    bag: BagPath,
    file: Annotated[Path, typer.Argument(help="Animation to write: .webp or .gif.")],
    gt: TruthFile = None,
    estimator: Annotated[str, typer.Option(help="Relative pose estimator.")] = "hybrid",
    every: Annotated[int, typer.Option(min=1, help="Show every N-th image.")] = 4,
    rate: Annotated[float, typer.Option(min=0.01, help="Playback rate; 1: as recorded.")] = 2.0,
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


@report_errors
def doctor(
    bag: Annotated[
        Path | None,
        typer.Option(help="rosbag2 recording: folder, .mcap or .db3 file; without it: live topics."),
    ] = None,
    image_topic: ImageTopic = None,
    info_topic: InfoTopic = None,
    base_frame: Annotated[str, typer.Option(help="Frame of the robot.")] = "base_link",
    seconds: Annotated[float, typer.Option(min=1.0, help="How long to listen to live topics.")] = 10.0,
    image_is_rectified: ImageIsRectified = False,
    rectified_fov: RectifiedFov = 0.0,
    allow_frame_mismatch: AllowFrameMismatch = False,
    mono16_range: Mono16Range = "auto",
    mask_file: MaskFile = "",
) -> None:
    """List the problems of a recording or running camera, worst first; exit code 1 if images are unusable."""
    from iup_pose_ros.bags.reader import BagReader
    from iup_pose_ros.replay.doctor import examine

    config = CameraConfig(image_is_rectified, rectified_fov, allow_frame_mismatch, mono16_range, mask_file)
    if bag is not None:
        with BagReader(bag, image_topic, info_topic, config) as reader:
            typer.echo(f"camera: {reader.camera.image} with {reader.camera.info}")
            findings = examine(reader, base_frame)
    else:
        from iup_pose_ros.replay.live_doctor import examine_live, find_live_camera

        camera = find_live_camera(image_topic, info_topic)
        typer.echo(f"camera: {camera.image} with {camera.info}; listening for {seconds:g} s")
        findings = examine_live(camera, base_frame, config, seconds)
    for number, finding in enumerate(findings, start=1):
        typer.echo(f"{number}. {'ERROR' if finding.is_fatal else 'warning'}: {finding.text}")
    if not findings:
        typer.echo("no problems found")
    if any(finding.is_fatal for finding in findings):
        raise typer.Exit(EXIT_FAILED)


@report_errors
def bag_camera(
    bag: BagPath,
    image_topic: ImageTopic = None,
    info_topic: InfoTopic = None,
    base_frame: Annotated[str, typer.Option(help="Frame of the robot.")] = "base_link",
) -> None:
    """Print, as JSON, the launch arguments of vo.launch.py that follow from a recording."""
    from iup_pose_ros.bags.messages import COMPRESSED_IMAGE
    from iup_pose_ros.bags.reader import BagReader
    from iup_pose_ros.bags.static_transforms import StaticTransforms

    with BagReader(bag, image_topic, info_topic) as reader:
        mount = StaticTransforms.read(reader).find(base_frame, reader.camera_frame)
        arguments = {
            "image": reader.camera.image,
            "camera_info": reader.camera.info,
            "image_transport": "compressed" if reader.camera.image_kind == COMPRESSED_IMAGE else "raw",
            "assume_identity_mount": "true" if mount is None else "false",
        }
    typer.echo(json.dumps(arguments))


@convert_app.command("sequence")
@report_errors
def sequence(
    folder: Annotated[
        Path, typer.Argument(help="Folder with images/, timestamps.csv, intrinsics.yaml, groundtruth.tum.")
    ],
    bag: Annotated[Path, typer.Argument(help="rosbag2 folder to create.")],
    storage: Annotated[str, typer.Option(help="Storage format: mcap or sqlite3.")] = "mcap",
    compressed: Annotated[
        bool, typer.Option("--compressed", help="Write the image files unchanged, as CompressedImage.")
    ] = False,
) -> None:
    """Convert an image sequence to rosbag2; ground truth is written to /ground_truth."""
    from iup_pose_ros.bags.sequence import convert_sequence
    from iup_pose_ros.progress import progress_bar

    with progress_bar(table_console(), "writing the bag") as advance:
        convert_sequence(
            folder, bag, storage=storage, compressed=compressed, progress=lambda _, total: advance(total)
        )


@convert_app.command("bag")
@report_errors
def bag_to_folder(
    bag: BagPath,
    folder: Annotated[Path, typer.Argument(help="Folder to create.")],
    gt_topic: TruthTopic = None,
    gt_frame: TruthFrame = None,
    image_topic: ImageTopic = None,
    info_topic: InfoTopic = None,
    params_file: ParamsFile = None,
    image_is_rectified: ImageIsRectified = False,
    rectified_fov: RectifiedFov = 0.0,
    allow_frame_mismatch: AllowFrameMismatch = False,
    mono16_range: Mono16Range = "auto",
) -> None:
    """Convert a rosbag2 recording to images, camera calibration and, with --gt-topic, ground truth."""
    from iup_pose_ros.bags.ground_truth import read_ground_truth_topic
    from iup_pose_ros.bags.reader import BagReader
    from iup_pose_ros.bags.sequence_writer import write_sequence
    from iup_pose_ros.progress import progress_bar

    camera = CameraConfig(image_is_rectified, rectified_fov, allow_frame_mismatch, mono16_range)
    config = node_config(params_file, camera)
    with BagReader(bag, image_topic, info_topic, config) as reader:
        truth = None if gt_topic is None else read_ground_truth_topic(gt_topic, reader, gt_frame)
        with progress_bar(table_console(), "writing the images") as advance:
            trajectory = None if truth is None else truth.trajectory
            write_sequence(reader, folder, trajectory, lambda: advance(reader.image_count))
        for warning in (*reader.warnings, *([truth.note] if truth is not None and truth.note else [])):
            typer.echo(f"warning: {warning}", err=True)
