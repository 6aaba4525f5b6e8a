"""What ~/save_trajectory writes and refuses, without ROS."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from iup_pose_ros.bags.trajectory_io import read_tum
from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.node import trajectory_log
from iup_pose_ros.node.trajectory_log import TrajectoryLog, file_inside

SECOND = 1_000_000_000


def log_of(*stamps):
    log = TrajectoryLog()
    for stamp in stamps:
        log.add(stamp, Pose(so3.exp(np.array([0.0, 0.1 * stamp / SECOND, 0.0])), np.full(3, stamp / SECOND)))
    return log


def test_file_is_read_back(tmp_path):
    saved = log_of(SECOND, 2 * SECOND, 3 * SECOND).save(str(tmp_path), "", "base in odom")
    trajectory = read_tum(saved.path)
    np.testing.assert_allclose(trajectory.stamps, [1.0, 2.0, 3.0])
    np.testing.assert_allclose(trajectory.positions[:, 0], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(so3.log(trajectory.rotations[2]), [0.0, 0.3, 0.0], atol=1e-8)
    assert "base in odom" in saved.path.read_text()


def test_of_a_bag_that_was_played_again_the_last_round_is_written(tmp_path):
    saved = log_of(SECOND, 2 * SECOND, SECOND, 2 * SECOND, 3 * SECOND).save(str(tmp_path), "a.tum", "")
    assert saved.poses == len(read_tum(saved.path).stamps) == 3
    assert "2 from before a jump back in time are omitted" in saved.message


def test_home_is_expanded_and_folders_are_made(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    saved = log_of(SECOND).save("~/deep/er", "under/a.tum", "")
    assert saved.path == tmp_path / "deep" / "er" / "under" / "a.tum"


def test_file_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"):
        log_of(SECOND).save(str(tmp_path), "file/a.tum", "")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("name", ["..", "../a", "/etc/passwd", "b/../../a", "a\0b", ""])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    with pytest.raises(DataError):
        file_inside(str(tmp_path), name)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        file_inside(str(tmp_path), "folder")


def test_a_pose_takes_64_bytes():
    log = TrajectoryLog()
    tracemalloc.start()
    for stamp in range(5_000):
        log.add(stamp, Pose.identity())
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 70 * 5_000


def test_of_too_many_poses_the_newest_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(trajectory_log, "_BLOCK", 10)
    monkeypatch.setattr(trajectory_log, "_MAX_BLOCKS", 3)
    saved = log_of(*(second * SECOND for second in range(1, 45))).save(str(tmp_path), "", "")
    trajectory = read_tum(saved.path)
    # Whole blocks are removed: of 44 poses the first 20.
    np.testing.assert_allclose(trajectory.stamps, np.arange(21.0, 45.0))
    np.testing.assert_allclose(trajectory.positions[:, 0], trajectory.stamps)
