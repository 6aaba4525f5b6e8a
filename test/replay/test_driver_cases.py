"""What real drivers and recordings send: every kind is tracked as well as the flight itself, or refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from typer.testing import CliRunner, Result

from iup_pose_ros.bags import messages
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.trajectory_io import write_tum
from iup_pose_ros.cli import app
from iup_pose_ros.geometry.trajectory import Trajectory

INFO, IMAGE = "/camera/camera_info", "/camera/image"
# Of the flight in conftest.py.
FOCAL, WIDTH, HEIGHT = 260.0, 320, 240
Edit = Callable[[int, Any], Any]


def rewritten(
    source: Path, path: Path, image: Edit, info: Edit, topics: dict[str, str] | None = None
) -> Path:
    """The bag with its images and camera_info edited, each given its number; topics by their old name."""
    edits = {INFO: info, IMAGE: image}
    with BagReader(source) as bag, Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {
            topic: writer.add_connection(
                (topics or {}).get(topic, topic), bag.topics[topic].kind, typestore=messages.typestore()
            )
            for topic in bag.topics
        }
        counts = dict.fromkeys(edits, 0)
        for message in bag.messages(list(bag.topics)):
            data = message.data
            if message.topic in edits:
                edited = edits[message.topic](
                    counts[message.topic], bag.deserialized(message, bag.topics[message.topic].kind)
                )
                counts[message.topic] += 1
                if edited is None:
                    continue
                data = messages.serialize(edited, bag.topics[message.topic].kind)
            writer.write(connections[message.topic], message.time, data)
    return path


def unchanged(_: int, message: Any) -> Any:
    return message


def pixels_of(message: Any) -> np.ndarray:
    return np.asarray(message.data).reshape(message.height, message.width, 3)


def with_pixels(message: Any, pixels: np.ndarray, encoding: str = "rgb8") -> Any:
    height, width = pixels.shape[:2]
    step = pixels.nbytes // height
    data = np.ascontiguousarray(pixels).view(np.uint8).reshape(-1)
    return replace(message, height=height, width=width, encoding=encoding, step=step, data=data)


def grey_of(message: Any) -> np.ndarray:
    return cv2.cvtColor(pixels_of(message), cv2.COLOR_RGB2GRAY).astype(np.float64)


def evaluate(bag: Path, *arguments: str) -> Result:
    gt = [] if "--gt" in arguments or "--no-gt" in arguments else ["--gt-topic", "/ground_truth"]
    given = [argument for argument in arguments if argument != "--no-gt"]
    command = ["evaluate", "bag", str(bag), "--estimators", "epipolar_klt", *gt, *given]
    return CliRunner().invoke(app, command)


def figures(bag: Path, folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    result = evaluate(bag, *arguments, "--report", str(folder))
    assert result.exit_code == 0, result.output
    document = json.loads((folder / "metrics.json").read_text())
    return document["estimators"]["epipolar_klt"], result.output


def assert_as_without_trouble(values: dict[str, Any]) -> None:
    """The flight itself gives 0.6 % of the path and 0.09 degrees per edge."""
    assert values["lost_share"] == 0.0
    assert values["ate_sim3_percent_of_path"] < 1.5
    assert values["rpe_rotation_deg_per_frame"] < 0.1
    assert values["nees"]["rotation"]["mean"] < 6.0


def binned(_: int, info: Any) -> Any:
    k, p = info.k.copy(), info.p.copy()
    k[:6] *= 2.0
    p[:8] *= 2.0
    return replace(info, width=2 * WIDTH, height=2 * HEIGHT, k=k, p=p, binning_x=2, binning_y=2)


def region(_: int, info: Any) -> Any:
    k = info.k.copy()
    k[[2, 5]] += (200.0, 100.0)
    roi = replace(info.roi, x_offset=200, y_offset=100, width=WIDTH, height=HEIGHT)
    return replace(info, width=WIDTH + 300, height=HEIGHT + 150, k=k, roi=roi)


def once(index: int, info: Any) -> Any:
    return info if index == 0 else None


@pytest.mark.parametrize("edit", [unchanged, binned, region, once])
def test_camera_info_of_every_lawful_kind_is_applied(bag: Path, tmp_path: Path, edit: Edit) -> None:
    path = rewritten(bag, tmp_path / "bag", unchanged, edit)
    values, _ = figures(path, tmp_path / "report")
    assert_as_without_trouble(values)


def hopping(index: int, message: Any) -> Any:
    exposure = 4096.0 / 255.0 * (1.0 + 0.03 * np.sin(1.7 * index))
    return with_pixels(message, np.round(exposure * grey_of(message)).astype("<u2"), "mono16")


def thermal(_: int, message: Any) -> Any:
    return with_pixels(message, np.round(29500.0 + 1200.0 / 255.0 * grey_of(message)).astype("<u2"), "16UC1")


def celsius(_: int, message: Any) -> Any:
    return with_pixels(message, (21.0 + 12.0 / 255.0 * grey_of(message)).astype("<f4"), "32FC1")


def exposure_jumps(index: int, message: Any) -> Any:
    gain = 0.3 if (index // 8) % 2 else 1.0
    return with_pixels(message, np.round(gain * pixels_of(message)).astype(np.uint8))


@pytest.mark.parametrize("edit", [hopping, thermal, celsius, exposure_jumps])
def test_brightness_of_every_kind_is_tracked(bag: Path, tmp_path: Path, edit: Edit) -> None:
    path = rewritten(bag, tmp_path / "bag", edit, unchanged)
    values, _ = figures(path, tmp_path / "report")
    assert_as_without_trouble(values)


def with_clock(index: int, pixels: np.ndarray) -> np.ndarray:
    """The time since the start, written over the image, and the image compressed."""
    text, white = f"{index / 15.0:09.3f}", (255, 255, 255)
    written = cv2.putText(pixels.copy(), text, (8, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.8, white, 2)
    _, data = cv2.imencode(".jpg", written, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


@pytest.mark.parametrize("written", [lambda _, pixels: pixels, with_clock], ids=["equal", "with a clock"])
def test_images_sent_again_are_left_out_and_counted(bag: Path, tmp_path: Path, written: Edit) -> None:
    kept: list[Any] = []

    def repeat(index: int, message: Any) -> Any:
        if index % 3 != 2:
            kept[:] = [message]
        return replace(with_pixels(message, written(index, pixels_of(kept[0]))), header=message.header)

    path = rewritten(bag, tmp_path / "bag", repeat, unchanged)
    values, output = figures(path, tmp_path / "report")
    assert_as_without_trouble(values)
    assert values["frames_dropped_invalid"] == 16
    assert "16 of 48 images repeat the pixels of the previous one" in " ".join(output.split())


@pytest.mark.parametrize(
    ("k", "words"),
    [
        ([1.0, 0, 0, 0, 1, 0, 0, 0, 1], "fx = 1 of the camera matrix K means a field of view of 179.3 deg"),
        ([FOCAL, 0, 160, 0, 1, 120, 0, 0, 1], "fy = 1 of the camera matrix K"),
        ([FOCAL, 0, 0, 0, FOCAL, 0, 0, 0, 1], "cx = 0 of the camera matrix K lies outside"),
        ([0.8, 0, 0.5, 0, 1.1, 0.5, 0, 0, 1], "fx = 0.8 of the camera matrix K"),
    ],
)
def test_implausible_camera_matrices_end_with_the_reason(
    bag: Path, tmp_path: Path, k: Any, words: str
) -> None:
    path = rewritten(bag, tmp_path / "bag", unchanged, lambda _, info: replace(info, k=np.array(k, float)))
    result = evaluate(path)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())


def test_camera_info_of_another_camera_ends_with_the_reason(bag: Path, tmp_path: Path) -> None:
    def depth(_: int, info: Any) -> Any:
        return replace(info, header=replace(info.header, frame_id="camera_depth_optical_frame"))

    path = rewritten(bag, tmp_path / "bag", unchanged, depth, {INFO: "/camera/depth/camera_info"})
    result = evaluate(path)
    assert result.exit_code == 2
    assert "has frame_id 'camera_depth_optical_frame'" in " ".join(result.stderr.split())
    values, _ = figures(path, tmp_path / "report", "--allow-frame-mismatch")
    assert_as_without_trouble(values)


def test_rectified_images_with_the_raw_calibration_are_doubted_and_can_be_named(
    bag: Path, tmp_path: Path
) -> None:
    def raw(_: int, info: Any) -> Any:
        k = info.k.copy()
        k[[0, 4]] *= 1.15
        return replace(info, k=k, d=np.array([-0.3, 0.09, 0.0005, -0.0004, 0.0]))

    path = rewritten(bag, tmp_path / "bag", unchanged, raw, {IMAGE: "/camera/image_rect"})
    _, output = figures(path, tmp_path / "twice")
    assert "the name of /camera/image_rect indicates rectified images" in " ".join(output.split())
    values, output = figures(path, tmp_path / "report", "--image-is-rectified")
    assert_as_without_trouble(values)
    assert "Warning" not in output


def test_recordings_without_stamps_end_with_the_reason(bag: Path, tmp_path: Path) -> None:
    def unstamped(_: int, message: Any) -> Any:
        stamp = replace(message.header.stamp, sec=0, nanosec=0)
        return replace(message, header=replace(message.header, stamp=stamp))

    result = evaluate(rewritten(bag, tmp_path / "bag", unstamped, unstamped), "--no-gt")
    assert result.exit_code == 2
    assert re.search(
        r"1 of 48 images are usable: 47 of 48 images were dropped, the last: non-monotonic timestamp 0\.0+ s",
        " ".join(result.stderr.split()),
    )


def with_stamp(seconds: Callable[[int], int]) -> Edit:
    """So many seconds later, by the number of the message."""

    def edit(index: int, message: Any) -> Any:
        stamp = message.header.stamp
        later = replace(stamp, sec=stamp.sec + seconds(index))
        return replace(message, header=replace(message.header, stamp=later))

    return edit


def test_a_clock_that_is_set_back_ends_the_trajectory(bag: Path, tmp_path: Path) -> None:
    back = with_stamp(lambda index: -3600 if index >= 30 else 0)
    values, output = figures(rewritten(bag, tmp_path / "bag", back, back), tmp_path / "report", "--no-gt")
    assert values["lost_share"] == 0.0
    words = "Warning: the stamps jump back by 3599.9 s after 30 images; the following images are left out"
    assert words in " ".join(output.split())


def test_a_clock_that_is_set_back_before_the_first_step_is_no_loss(bag: Path, tmp_path: Path) -> None:
    stale = with_stamp(lambda index: 3600 if index == 0 else 0)
    values, output = figures(rewritten(bag, tmp_path / "bag", stale, stale), tmp_path / "report", "--no-gt")
    assert values["lost_share"] == 0.0
    assert "jump back" not in output


def test_the_doctor_names_stamps_that_jump(bag: Path, tmp_path: Path) -> None:
    ahead = with_stamp(lambda index: 3600 if index >= 20 else 0)
    path = rewritten(bag, tmp_path / "bag", ahead, ahead)
    result = CliRunner().invoke(app, ["doctor", "--bag", str(path)])
    assert "warning: stamps of images jump ahead by 3600.1 s" in result.output


def test_stamps_of_arrival_are_named(bag: Path, tmp_path: Path) -> None:
    def arrival(index: int, message: Any) -> Any:
        stamp = message.header.stamp
        late = np.random.default_rng(index).uniform(-25e6, 25e6)
        nanosec = int(np.clip(stamp.nanosec + late, 0, 999_999_999))
        return replace(message, header=replace(message.header, stamp=replace(stamp, nanosec=nanosec)))

    _, output = figures(rewritten(bag, tmp_path / "bag", arrival, arrival), tmp_path / "report", "--no-gt")
    assert "Warning: image stamps are irregular" in " ".join(output.split())


def test_leading_slashes_of_ros_1_are_understood(bag: Path, tmp_path: Path) -> None:
    def slash(_: int, message: Any) -> Any:
        return replace(message, header=replace(message.header, frame_id=f"/{message.header.frame_id}"))

    path = rewritten(bag, tmp_path / "bag", slash, unchanged)
    with BagReader(path) as reader:
        truth = body_path(reader)
    write_tum(tmp_path / "gt.tum", truth)
    values, _ = figures(
        path, tmp_path / "report", "--gt", str(tmp_path / "gt.tum"), "--gt-frame", "base_link"
    )
    assert_as_without_trouble(values)


def body_path(bag: BagReader) -> Trajectory:
    """The path of base_link, by the recording's own mount and ground truth of the camera."""
    from iup_pose_ros.bags.static_transforms import StaticTransforms

    T_camera_base = StaticTransforms.read(bag).find("camera_optical", "base_link")
    assert T_camera_base is not None
    poses = [
        (messages.stamp_of(m) * 1e-9, messages.pose_of(m.pose) @ T_camera_base)
        for m in bag.decoded("/ground_truth")
    ]
    return Trajectory.from_poses([stamp for stamp, _ in poses], [pose for _, pose in poses])


def test_ground_truth_that_repeats_stamps_is_taken(bag: Path, sequence_folder: Path, tmp_path: Path) -> None:
    lines = (sequence_folder / "groundtruth.tum").read_text().splitlines()
    (tmp_path / "gt.tum").write_text("\n".join([*lines[:10], *lines[9:20], *lines[19:]]) + "\n")
    values, output = figures(bag, tmp_path / "report", "--gt", str(tmp_path / "gt.tum"))
    assert_as_without_trouble(values)
    assert "2 poses of gt.tum repeat the previous stamp and were omitted" in " ".join(output.split())


def through_lens(k: np.ndarray, size: tuple[int, int], coefficients: np.ndarray) -> Edit:
    """Images as an equidistant lens with skew sees what the flight's pinhole images show; black around."""
    v, u = np.indices(size[::-1], dtype=np.float64)
    y = (v - k[1, 2]) / k[1, 1]
    x = (u - k[0, 2] - k[0, 1] * y) / k[0, 0]
    distorted = np.hypot(x, y)
    angles = np.linspace(0.0, 1.2, 4000)
    profile = angles * (1.0 + sum(c * angles ** (2 * i + 2) for i, c in enumerate(coefficients)))
    scale = np.tan(np.interp(distorted, profile, angles)) / np.maximum(distorted, 1e-9)
    map_x = (scale * x * FOCAL + WIDTH / 2 - 0.5).astype(np.float32)
    map_y = (scale * y * FOCAL + HEIGHT / 2 - 0.5).astype(np.float32)

    def edit(_: int, message: Any) -> Any:
        seen = cv2.remap(pixels_of(message), map_x, map_y, cv2.INTER_LINEAR)
        return with_pixels(message, np.asarray(seen))

    return edit


@pytest.mark.parametrize("skew", [0.0, -3.0])
def test_fisheye_images_are_tracked_skew_or_not(bag: Path, tmp_path: Path, skew: float) -> None:
    k = np.array([[250.0, skew, 149.0], [0.0, 252.0, 111.0], [0.0, 0.0, 1.0]])
    coefficients = np.array([-0.02, 0.03, -0.01, 0.002])

    def lens(_: int, info: Any) -> Any:
        return replace(
            info, width=290, height=220, k=k.ravel(), d=coefficients, distortion_model="equidistant"
        )

    path = rewritten(bag, tmp_path / "bag", through_lens(k, (290, 220), coefficients), lens)
    values, _ = figures(path, tmp_path / "report")
    assert_as_without_trouble(values)
