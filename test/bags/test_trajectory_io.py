from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from iup_pose_ros.bags.trajectory_io import read_tum, read_tum_and_repeats, write_tum
from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.trajectory import Trajectory


def trajectory(count: int = 20, start: float = 1403715274.3) -> Trajectory:
    rng = np.random.default_rng(1)
    return Trajectory(
        start + 0.05 * np.arange(count, dtype=np.float64),
        Rotation.random(count, rng=rng).as_matrix(),
        rng.normal(size=(count, 3)) * 10,
    )


def test_written_trajectory_reads_back(tmp_path: Path) -> None:
    written = trajectory()
    write_tum(tmp_path / "t.tum", written, "T_world_camera")
    read = read_tum(tmp_path / "t.tum")
    np.testing.assert_allclose(read.stamps, written.stamps, atol=1e-6)
    np.testing.assert_allclose(read.positions, written.positions, atol=1e-9)
    np.testing.assert_allclose(read.rotations, written.rotations, atol=1e-8)


def test_comments_blank_lines_and_commas_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "t.tum"
    path.write_text("# header\n\n0.5 1 2 3 0 0 0 1  # rest\n0.6,1,2,3,0,0,0.7071,0.7071\n")
    read = read_tum(path)
    np.testing.assert_allclose(read.stamps, [0.5, 0.6])
    np.testing.assert_allclose(read.rotations[1], [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-6)


@pytest.mark.parametrize("header", ["timestamp tx ty tz qx qy qz qw", "time[s],x,y,z,qx,qy,qz,qw", '"t" "x"'])
def test_a_header_that_is_no_comment_is_skipped(tmp_path: Path, header: str) -> None:
    path = tmp_path / "t.tum"
    path.write_text(f"{header}\n0.5\t1\t2\t3\t0\t0\t0\t1\r\n0.6,1,2,3,0,0,0,1\r\n")
    np.testing.assert_allclose(read_tum(path).stamps, [0.5, 0.6])


def test_of_poses_with_one_stamp_the_first_is_kept_and_the_rest_counted(tmp_path: Path) -> None:
    path = tmp_path / "t.tum"
    path.write_text("".join(f"{stamp} {x} 0 0 0 0 0 1\n" for x, stamp in enumerate((1, 2, 2, 2, 3, 3))))
    read, repeats = read_tum_and_repeats(path)
    np.testing.assert_array_equal(read.stamps, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(read.positions[:, 0], [0.0, 1.0, 4.0])
    assert repeats == 3


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "t.tum"
    path.write_text("\ufeff1 0 0 0 0 0 0 1\n", encoding="utf-8")
    assert len(read_tum(path).stamps) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0 0 0 0 0 1\n", "line 1: 7 columns; 8 are required"),
        ("# c\n0 0 0 0 0 0 0 one\n", "line 2: could not convert"),
        ("0 0 0 0 0 0 0 1\n1 0 0 0 0 0 0 1.2\n", r"line 2: quaternion of length 1\.2000"),
        ("0 0 0 0 0 0 0 0\n", "quaternion of length 0"),
        ("1 0 0 0 0 0 0 1\n0.5 0 0 0 0 0 0 1\n", "line 2: stamp 0.500000000 does not follow"),
        ("0 nan 0 0 0 0 0 1\n", "line 1: a value is not finite"),
        ("# nothing\n", "holds no pose"),
        (f"1,{'0,' * 16}\n", r"line 1: 17 columns, as EuRoC has them: `evo_traj euroc .*t.tum --save"),
        ("1700000000500000000 0 0 0 0 0 0 1\n", "line 1: stamp 1700000000500000000; stamps are in seconds"),
    ],
)
def test_malformed_file_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.tum"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_tum(path)


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_tum(tmp_path / "none.tum")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(DataError, match="not a text file"):
        read_tum(tmp_path / "binary")
    with pytest.raises(DataError, match="cannot be written"):
        write_tum(tmp_path / "none" / "t.tum", trajectory())
