"""The odometry on real images, where the evaluation sequences are there."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from iup_pose_ros.bags.sequence import SequenceFolder
from iup_pose_ros.estimators.registry import create_estimator
from iup_pose_ros.evaluation.metrics.trajectory_errors import position_errors, root_mean_square
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.rectification import Rectifier
from iup_pose_ros.geometry.trajectory import Trajectory, align, associate
from iup_pose_ros.odometry import OdometryUpdate, TrackingState, VisualOdometry
from iup_pose_ros.types import Frame

SEQUENCES = Path(__file__).resolve().parents[3] / "shared" / "data" / "sequences"


def sequence(name: str) -> tuple[list[Frame], Trajectory]:
    """Rectified frames and ground truth; skips the test where the sequence is not there."""
    if not (SEQUENCES / name).is_dir():
        pytest.skip(f"evaluation sequence {name} is not there: {SEQUENCES} is optional")
    folder = SequenceFolder.open(SEQUENCES / name)
    camera, recorded = folder.calibration, folder.calibration.intrinsics
    rectifier = Rectifier(
        recorded.matrix.ravel().tolist(), camera.distortion, camera.model, recorded.width, recorded.height
    )
    frames = [
        Frame(rectifier.rectify(folder.read_image(k)), rectifier.intrinsics, stamp * 1e-9, "camera_optical")
        for k, stamp in enumerate(folder.stamps)
    ]
    assert folder.groundtruth is not None
    return frames, folder.groundtruth


def process(frames: list[Frame]) -> list[OdometryUpdate]:
    odometry = VisualOdometry(create_estimator("epipolar_klt"))
    return [odometry.process(frame) for frame in frames]


def trajectory_error(updates: list[OdometryUpdate], truth: Trajectory) -> float:
    """Root mean square position error in metres after alignment with scale; the origin counts as a pose."""
    posed = [update for update in updates if update.edge]
    poses = [Pose.identity(), *(update.pose.pose for update in posed)]
    stamps = [posed[0].edge.previous_stamp, *(update.stamp for update in posed)]
    estimate = Trajectory.from_poses(stamps, poses)
    mine, theirs = associate(estimate.stamps, truth.stamps, 1e-3)
    estimate, truth = estimate.select(mine), truth.select(theirs)
    aligned = align(estimate.positions, truth.positions, with_scale=True).apply(estimate)
    return root_mean_square(position_errors(aligned, truth))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "metres"),
    [("kitti_06_first51", 1.0), ("7scenes_redkitchen_sfm_3.75hz", 0.15), ("tum_fr3_office_1hz", 0.15)],
)
def test_real_sequence_is_tracked_throughout_with_one_scale(name: str, metres: float):
    frames, truth = sequence(name)
    updates = process(frames[:70])
    assert all(update.state is not TrackingState.LOST for update in updates)
    assert trajectory_error(updates, truth) < metres
    # On the way back a position may become surer again, an orientation never.
    traces = [np.trace(update.pose.covariance[3:, 3:]) for update in updates if update.edge]
    assert all(before < after for before, after in pairwise(traces))


def test_camera_that_stands_still_is_reported_at_rest_and_does_not_drift():
    frames, _ = sequence("euroc_V1_01_start_static")
    updates = process(frames)
    resting = [update for update in updates if update.state is TrackingState.STATIONARY]
    assert len(resting) > 0.7 * len(frames)
    assert all(np.linalg.norm(update.pose.pose.translation) < 0.02 for update in updates if update.pose)


def test_black_frames_are_lost_and_a_few_good_ones_recover_without_a_jump():
    frames, _ = sequence("kitti_06_first51")
    black = [Frame(np.zeros_like(f.image), f.intrinsics, f.stamp, f.frame_id) for f in frames[15:23]]
    updates = process(frames[:15] + black + frames[23:36])
    assert {update.state for update in updates[15:23]} == {TrackingState.LOST}
    assert all(update.pose is None for update in updates[15:23])
    assert all(update.state is TrackingState.TRACKING for update in updates[27:])
    posed = [update for update in updates if update.pose]
    first = next(k for k, update in enumerate(posed) if update.stamp > frames[22].stamp)
    jump = posed[first].pose.pose.translation - posed[first - 1].pose.pose.translation
    assert np.linalg.norm(jump) < 1.5 * np.linalg.norm(posed[first].edge.base.pose.translation)
