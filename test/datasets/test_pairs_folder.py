from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from iup_pose_ros.datasets.pairs_folder import load_pairs_folder
from iup_pose_ros.errors import CalibrationError, DataError
from iup_pose_ros.geometry.camera import Intrinsics

SHARED = Path(__file__).resolve().parents[3] / "shared/data/pairs"
HEADER = (
    "image0,image1,fx0,fy0,cx0,cy0,fx1,fy1,cx1,cy1,width0,height0,width1,height1,"
    "qx,qy,qz,qw,tx,ty,tz,overlap_hint,metric"
)
ROTATION = Rotation.from_rotvec([0.1, -0.2, 0.3])
ROW = "a.png,b.png,50,51,31.5,23.5,60,61,30,20,64,48,64,48,{},0.5,-1,2,0.7,1".format(
    ",".join(map(str, ROTATION.as_quat()))
)


def write(folder: Path, *lines: str) -> Path:
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_row_contains_both_cameras_and_their_relative_pose(tmp_path):
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((48, 64, 3), np.uint8))
    (pair,) = load_pairs_folder(write(tmp_path, HEADER, ROW))
    np.testing.assert_allclose(pair.T_1_0.rotation, ROTATION.as_matrix(), atol=1e-9)
    np.testing.assert_allclose(pair.T_1_0.translation, [0.5, -1.0, 2.0])
    assert (pair.metric, pair.overlap, pair.name) == (True, 0.7, tmp_path.name)
    assert pair.images[1].load().intrinsics.fy == 61.0
    (unknown,) = load_pairs_folder(write(tmp_path, HEADER, ROW.replace("0.7,1", "-1,0")))
    assert np.isnan(unknown.overlap)
    assert not unknown.metric


@pytest.mark.parametrize(
    ("file_size", "expected"),
    [
        ((64, 48), Intrinsics(60.0, 61.0, 30.0, 20.0, 64, 48)),
        # Half the size: the centre lies as far from the corner of the image, -0.5, in half-size pixels.
        ((32, 24), Intrinsics(30.0, 30.5, 14.75, 9.75, 32, 24)),
        # A larger file is reduced to the size of its camera.
        ((128, 96), Intrinsics(60.0, 61.0, 30.0, 20.0, 64, 48)),
    ],
)
def test_cameras_of_another_resolution_than_the_file_are_scaled(tmp_path, file_size, expected):
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((*file_size[::-1], 3), np.uint8))
    (pair,) = load_pairs_folder(write(tmp_path, HEADER, ROW))
    loaded = pair.images[1].load()
    assert loaded.intrinsics == expected
    assert loaded.image.shape == (expected.height, expected.width, 3)


def test_images_of_another_aspect_ratio_than_the_intrinsics_are_rejected(tmp_path):
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((64, 64, 3), np.uint8))
    (pair,) = load_pairs_folder(write(tmp_path, HEADER, ROW))
    with pytest.raises(
        CalibrationError, match=r"b\.png has 64x64 pixels, but its camera matrix K is for 64x48"
    ):
        pair.images[1].load()
    with pytest.raises(DataError, match="line 2: width0, height0 = 0, 48; pixels are needed"):
        load_pairs_folder(write(tmp_path, HEADER, ROW.replace(",64,48,64,48,", ",0,48,64,48,")))


def test_a_byte_order_mark_is_skipped(tmp_path):
    (pair,) = load_pairs_folder(write(tmp_path, "\ufeff" + HEADER, ROW))
    assert pair.metric


def test_cameras_without_the_size_of_their_image_are_those_of_the_file(tmp_path):
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((48, 64, 3), np.uint8))
    (pair,) = load_pairs_folder(
        write(
            tmp_path, HEADER.replace("width0,height0,width1,height1,", ""), ROW.replace(",64,48,64,48,", ",")
        )
    )
    assert pair.images[1].load().intrinsics == Intrinsics(60.0, 61.0, 30.0, 20.0, 64, 48)


def test_files_in_another_layout_are_rejected(tmp_path):
    with pytest.raises(DataError, match=r"pairs\.csv is missing: a table of image pairs"):
        load_pairs_folder(tmp_path)
    with pytest.raises(DataError, match=r"lacks the columns fx0, .*tz; it has \['image0', 'image1'\]"):
        load_pairs_folder(write(tmp_path, "image0,image1"))
    with pytest.raises(DataError, match="has no pair"):
        load_pairs_folder(write(tmp_path, HEADER))
    with pytest.raises(DataError, match="line 2: fx0 is 'wide'; a number is needed"):
        load_pairs_folder(write(tmp_path, HEADER, ROW.replace(",50,", ",wide,")))
    with pytest.raises(DataError, match="line 2: tz is 'nan'; a finite number"):
        load_pairs_folder(write(tmp_path, HEADER, ROW.replace(",2,0.7", ",nan,0.7")))
    with pytest.raises(DataError, match="not of unit length"):
        load_pairs_folder(write(tmp_path, HEADER, ROW.replace(str(ROTATION.as_quat()[3]), "5")))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared image pairs are not on this machine")
def test_the_shared_pairs_load():
    counts = {folder.name: len(load_pairs_folder(folder)) for folder in SHARED.iterdir() if folder.is_dir()}
    assert counts["kitti_06"] == 120
    assert sum(counts.values()) == 811
