"""Writing of one camera of a recording as an image folder, the reverse of ``sequence.convert_sequence``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import yaml

from iup_pose_ros.atomic import atomic_directory
from iup_pose_ros.bags import messages
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.sequence import folder_model
from iup_pose_ros.bags.trajectory_io import write_tum
from iup_pose_ros.errors import DataError, ImageError
from iup_pose_ros.frame_builder import calibration_of
from iup_pose_ros.geometry.trajectory import Trajectory
from iup_pose_ros.images import decode_compressed_image, decode_image, mosaic_encoding
from iup_pose_ros.level_mapping import LevelMapping
from iup_pose_ros.stamps import decimal_seconds

_JPEG_MAGIC, _PNG_MAGIC = b"\xff\xd8\xff", b"\x89PNG"


def write_sequence(
    bag: BagReader, folder: Path | str, ground_truth: Trajectory | None, progress: Callable[[], None]
) -> None:
    """Write images/, timestamps.csv, intrinsics.yaml and, if given, groundtruth.tum.

    JPEG and PNG files are copied, except Bayer mosaics; other images are written as PNG. None is undistorted.

    Args:
        bag: the recording.
        folder: folder to create atomically; it must not exist.
        ground_truth: ``T_world_camera``; written at its own stamps.
        progress: called after every image.

    Raises:
        DataError: the folder exists or cannot be written, the recording is damaged, its calibration changes,
            or two images have the same stamp.
        ImageError: an image that cannot be decoded.
    """
    with atomic_directory(Path(folder), "folder") as made:
        (made / "images").mkdir(parents=True)
        calibration = _intrinsics(bag)
        text = "# pixel coordinates: origin at the centre of the top-left pixel\n"
        (made / "intrinsics.yaml").write_text(text + yaml.safe_dump(calibration, sort_keys=False))
        rows, levels = ["timestamp,filename"], LevelMapping(bag.config.level_range)
        for image in bag.decoded(bag.camera.image):
            seconds = decimal_seconds(messages.stamp_of(image))
            suffix, data = _file(image, bag.camera.image_kind, levels)
            target = made / "images" / f"{seconds}{suffix}"
            if target.exists():
                raise DataError(f"bag {bag.path} has two images with the stamp {seconds} s")
            target.write_bytes(data)
            rows.append(f"{seconds},{target.name}")
            progress()
        (made / "timestamps.csv").write_text("\n".join(rows) + "\n")
        if ground_truth is not None:
            write_tum(made / "groundtruth.tum", ground_truth, "T_world_camera, optical frame")


def _file(image: Any, kind: str, levels: LevelMapping) -> tuple[str, bytes]:
    """Return the suffix and content of an image's file."""
    if kind == messages.COMPRESSED_IMAGE:
        data = bytes(image.data)
        if data.startswith((_JPEG_MAGIC, _PNG_MAGIC)) and not mosaic_encoding(image):
            return (".png" if data.startswith(_PNG_MAGIC) else ".jpg"), data
        pixels = decode_compressed_image(image, levels)
    else:
        pixels = decode_image(image, levels)
    done, content = cv2.imencode(".png", pixels if pixels.ndim == 2 else pixels[:, :, ::-1])
    if not done:
        raise ImageError(f"image of {pixels.shape[1]}x{pixels.shape[0]} pixels cannot be written as PNG")
    return ".png", bytes(content)


def _intrinsics(bag: BagReader) -> dict[str, Any]:
    """Return the content of intrinsics.yaml: the calibration of all images, read by ``bag.config``."""
    # Building a frame rejects the calibrations that the odometry rejects.
    next(bag.frames())
    decode = decode_image if bag.camera.image_kind == messages.IMAGE else decode_compressed_image
    height, width = decode(next(bag.decoded(bag.camera.image))).shape[:2]
    rectified = bag.config.image_is_rectified
    calibrations = [calibration_of(info, width, height, rectified) for info in bag.decoded(bag.camera.info)]
    if any(other != calibrations[0] for other in calibrations):
        raise DataError(f"the calibration on {bag.camera.info} changes; an image folder holds only one")
    calibration = calibrations[0]
    (fx, skew, cx), (_, fy, cy), _ = calibration.window.camera_matrix(calibration.matrix).tolist()
    model = folder_model(calibration.model, calibration.distortion)
    return {
        "fx": fx,
        "fy": fy,
        "cx": cx,
        "cy": cy,
        **({"skew": skew} if skew else {}),
        "width": calibration.window.width,
        "height": calibration.window.height,
        "distortion_model": model,
        "distortion_coeffs": [] if model == "none" else list(calibration.distortion),
    }
