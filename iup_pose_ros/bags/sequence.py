"""Image sequences as folders: images/, timestamps.csv, intrinsics.yaml and, where known, groundtruth.tum."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from iup_pose_ros.bags.messages import CameraCalibration
from iup_pose_ros.bags.trajectory_io import read_tum
from iup_pose_ros.bags.writer import CameraExtrinsics, CameraNames, write_camera_bag
from iup_pose_ros.errors import CalibrationError, DataError
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.lens import lens_model
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.trajectory import Trajectory, associate
from iup_pose_ros.images import decode_file
from iup_pose_ros.stamps import NANOSECONDS

_INTRINSIC_KEYS = ("fx", "fy", "cx", "cy", "width", "height")
# Distortion model in intrinsics.yaml -> that of camera_info, and possible numbers of coefficients.
_MODELS = {
    "none": ("plumb_bob", (0,)),
    "radtan": ("plumb_bob", (4, 5)),
    "rational_polynomial": ("rational_polynomial", (8, 12, 14)),
    "equidistant": ("equidistant", (4,)),
}
_SAME_TIME = 1e-3  # seconds between the stamps of an image and its ground truth
_ENCODINGS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png"}


@dataclass(frozen=True, eq=False)
class SequenceFolder:
    """A sequence on disk; images are read on request.

    Attributes:
        path: the folder.
        stamps: of the images, nanoseconds, increasing.
        images: their files.
        calibration: of all images as stored.
        groundtruth: T_world_camera of the optical frame, or None where the folder has none.
    """

    path: Path
    stamps: tuple[int, ...]
    images: tuple[Path, ...]
    calibration: CameraCalibration
    groundtruth: Trajectory | None

    @classmethod
    def open(cls, path: Path | str) -> SequenceFolder:
        """Open the sequence in a folder.

        Raises:
            DataError: the folder or a file of it is missing or malformed; the message names it.
        """
        path = Path(path)
        if not path.is_dir():
            raise DataError(f"sequence folder {path} does not exist")
        stamps, images = _read_timestamps(path / "timestamps.csv", path / "images")
        groundtruth = path / "groundtruth.tum"
        return cls(
            path=path,
            stamps=stamps,
            images=images,
            calibration=_read_calibration(path / "intrinsics.yaml"),
            groundtruth=read_tum(groundtruth) if groundtruth.exists() else None,
        )

    def __len__(self) -> int:
        return len(self.images)

    def read_image(self, index: int) -> NDArray[np.uint8]:
        """Return image number ``index`` as stored (not undistorted), (H, W, 3) RGB or (H, W) grey.

        Raises:
            DataError: the file cannot be read or has another size than the calibration.
            ImageError: the file is damaged or declares too many pixels.
        """
        file = self.images[index]
        try:
            content = file.read_bytes()
        except OSError as error:
            raise DataError(f"image {file} cannot be read: {error.strerror}") from error
        image = decode_file(content, f"image {file}", cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        expected = self.calibration.intrinsics
        if image.shape[:2] != (expected.height, expected.width):
            raise DataError(
                f"image {file} is {image.shape[1]}x{image.shape[0]} pixels, "
                f"intrinsics.yaml says {expected.width}x{expected.height}"
            )
        if image.ndim == 3:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return np.asarray(image, dtype=np.uint8)


def convert_sequence(
    sequence: SequenceFolder | Path | str,
    bag: Path | str,
    *,
    names: CameraNames | None = None,
    extrinsics: CameraExtrinsics | None = None,
    storage: str = "mcap",
    compressed: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a sequence as a rosbag2 folder with images, camera_info and, where known, ``/ground_truth``.

    Args:
        sequence: the sequence or its folder.
        bag: folder to create; it must not exist.
        names: topics and frame; default /camera/image, /camera/camera_info, camera_optical.
        extrinsics: the camera's extrinsics for /tf_static; None: not written.
        storage: "mcap" or "sqlite3".
        compressed: copy the image files unchanged into CompressedImage messages instead of decoding them;
            their topic is then the image topic with "/compressed" appended.
        progress: called with (images written, total) after every image.

    Raises:
        DataError: the folder is not a sequence, an image is damaged, or the bag exists already.
    """
    if not isinstance(sequence, SequenceFolder):
        sequence = SequenceFolder.open(sequence)
    names = names or CameraNames()
    if compressed:
        names = CameraNames(f"{names.image_topic}/compressed", names.info_topic, names.frame_id)
    with write_camera_bag(
        bag, sequence.calibration, names, extrinsics, storage, sequence.stamps[0]
    ) as writer:
        truth = _poses_of_images(sequence)
        for index, (stamp, file) in enumerate(zip(sequence.stamps, sequence.images, strict=True)):
            if index in truth:
                writer.write_truth(stamp, truth[index])
            if compressed:
                encoding = _ENCODINGS.get(file.suffix.lower())
                if encoding is None:
                    accepted = ", ".join(_ENCODINGS)
                    raise DataError(f"image {file} cannot be copied compressed; only {accepted} files can")
                writer.write_compressed(stamp, file.read_bytes(), encoding)
            else:
                writer.write_image(stamp, sequence.read_image(index))
            if progress is not None:
                progress(index + 1, len(sequence))


def _poses_of_images(sequence: SequenceFolder) -> dict[int, Pose]:
    """Return the ground truth by image number, for the images with a pose of their stamp."""
    if sequence.groundtruth is None:
        return {}
    seconds = np.array(sequence.stamps) * 1e-9
    images, poses = associate(seconds, sequence.groundtruth.stamps, _SAME_TIME)
    return {int(i): sequence.groundtruth.pose(int(k)) for i, k in zip(images, poses, strict=True)}


def _read_timestamps(file: Path, folder: Path) -> tuple[tuple[int, ...], tuple[Path, ...]]:
    """Return stamps in nanoseconds and image files of timestamps.csv (header timestamp,filename)."""
    rows = list(csv.DictReader(_read_text(file).splitlines()))
    if not rows:
        raise DataError(f"{file} lists no image; lines of timestamp,filename are expected below the header")
    stamps: list[int] = []
    images: list[Path] = []
    for number, row in enumerate(rows, start=2):
        if not row.get("timestamp") or not row.get("filename"):
            raise DataError(
                f"{file}, line {number}: columns timestamp,filename are required, as named in the header"
            )
        text = row["timestamp"]
        try:
            # Decimal, because a float of seconds since 1970 has too few digits.
            stamp = int((Decimal(text.strip()) * NANOSECONDS).to_integral_value())
        except (InvalidOperation, ValueError, OverflowError):
            raise DataError(f"{file}, line {number}: timestamp {text!r} is not a number of seconds") from None
        if not 0 <= stamp < 2**31 * NANOSECONDS:
            raise DataError(f"{file}, line {number}: timestamp {text} s is outside the range of ROS time")
        stamps.append(stamp)
        images.append(folder / row["filename"])
        if not images[-1].is_file():
            raise DataError(f"{file}, line {number}: image {images[-1]} does not exist")
        if len(stamps) > 1 and stamps[-1] <= stamps[-2]:
            raise DataError(f"{file}, line {number}: timestamp {row['timestamp']} does not increase")
    return tuple(stamps), tuple(images)


def _read_calibration(file: Path) -> CameraCalibration:
    """Read intrinsics.yaml."""
    try:
        content = yaml.safe_load(_read_text(file))
    except yaml.YAMLError as error:
        raise DataError(f"{file} is not YAML: {error}") from error
    missing = [key for key in _INTRINSIC_KEYS if not isinstance(content, dict) or key not in content]
    if missing:
        raise DataError(f"{file} lacks {', '.join(missing)}; required are {', '.join(_INTRINSIC_KEYS)}")
    model = content.get("distortion_model", "none")
    if model not in _MODELS:
        raise DataError(f"{file}: unknown distortion_model {model!r}; accepted are {', '.join(_MODELS)}")
    try:
        fx, fy, cx, cy = (float(content[key]) for key in _INTRINSIC_KEYS[:4])
        intrinsics = Intrinsics(fx, fy, cx, cy, int(content["width"]), int(content["height"]))
        coefficients = tuple(float(value) for value in content.get("distortion_coeffs") or ())
        skew = float(content.get("skew", 0.0))
    except (CalibrationError, TypeError, ValueError) as error:
        raise DataError(f"{file}: {error}") from error
    ros_model, counts = _MODELS[model]
    if len(coefficients) not in counts:
        accepted = " or ".join(str(count) for count in counts)
        raise DataError(
            f"{file}: {len(coefficients)} distortion_coeffs for {model}, which has {accepted}; "
            "radtan: k1 k2 p1 p2, optionally k3"
        )
    # CameraInfo's plumb_bob always has the third radial coefficient.
    short = ros_model == "plumb_bob" and len(coefficients) == 4
    coefficients = (*coefficients, 0.0) if short else coefficients
    return CameraCalibration(intrinsics, coefficients, ros_model, skew)


def folder_model(ros_model: str, coefficients: Sequence[float]) -> str:
    """Return the name in intrinsics.yaml of a distortion model of camera_info.

    Raises:
        DataError: intrinsics.yaml does not support the model.
    """
    is_fisheye = lens_model(ros_model, any(coefficients)) == "equidistant" and len(coefficients) > 0
    if not any(coefficients) and not is_fisheye:
        return "none"
    names = [
        name
        for name, (known, counts) in _MODELS.items()
        if (known == "equidistant") == is_fisheye and len(coefficients) in counts
    ]
    if not names:
        raise DataError(f"distortion model {ros_model!r} cannot be written; accepted: {', '.join(_MODELS)}")
    return names[0]


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not a text file") from error
