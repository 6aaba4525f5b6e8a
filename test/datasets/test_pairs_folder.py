from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from iup_pose_ros.datasets.pairs_folder import load_pairs_folder
from iup_pose_ros.errors import DataError

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
