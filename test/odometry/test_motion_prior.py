"""A motion prior carries the pose through a loss and lets the tracking follow a fast turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from odometry_scenes import Oracle, black, frame, pose, positive_definite

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.epipolar.epipolar_estimator import EpipolarEstimator
from iup_pose_ros.estimators.matching.features import LucasKanadeFrontEnd
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry import OdometryConfig, OdometryUpdate, TrackingState, VisualOdometry, WheelHistory
from iup_pose_ros.odometry.motion_prior import GyroPrior, MotionPrior, OdometryPrior
from iup_pose_ros.odometry.wheels import GyroHistory

PERIOD = 0.1
CONFIG = OdometryConfig(maximum_tracks=300)
DARK = range(20, 28)
# x forward on the base is z of the camera; the camera sits ahead of the axle.
MOUNT = Pose.from_quaternion(np.array([-0.5, 0.5, -0.5, 0.5]), np.array([0.3, 0.1, 0.2]))
Path = Callable[[float], Pose]


def curve(time: float) -> Pose:
    """T_world_camera: to the right at 0.9 m/s."""
    return pose(-1.5 + 0.9 * time, 0.05 * time, 0.3 * time, turn=(0.0, 0.05 * time, 0.0))


def nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def base_motion(path: Path, start: float, end: float) -> Pose:
    """T_start_end of the base on which the camera is mounted."""
    return MOUNT @ path(start).inverse() @ path(end) @ MOUNT.inverse()


def odometry_prior(path: Path, until: float = 5.0, speed_variance: float = 0.0) -> OdometryPrior:
    history = WheelHistory()
    history.rate_variances = np.full(6, speed_variance)
    for time in np.arange(0.0, until, 0.02):
        history.add(nanoseconds(time), base_motion(path, 0.0, time))
    return OdometryPrior(history, nanoseconds)


def gyro_prior(path: Path) -> GyroPrior:
    """An IMU with the axes of the camera."""
    history = GyroHistory()
    for time in np.arange(0.0, 5.0, 0.005):
        turn = path(time - 5e-4).inverse() @ path(time + 5e-4)
        history.add_rate(nanoseconds(time), so3.log(turn.rotation) / 1e-3)
    return GyroPrior(history, nanoseconds, lambda: MOUNT)


def flight(prior: MotionPrior | None, config: OdometryConfig = CONFIG) -> list[OdometryUpdate]:
    """A curve with the camera covered in between; the estimator knows directions, not lengths."""
    config = replace(config, lost_patience=0.0)
    vo = VisualOdometry(Oracle(curve), config, MOUNT, prior=prior)
    stamps = [PERIOD * k for k in range(40)]
    return [
        vo.process(black(stamp) if k in DARK else frame(stamp, curve(stamp)))
        for k, stamp in enumerate(stamps)
    ]


def errors(updates: list[OdometryUpdate], unit: float) -> tuple[np.ndarray, np.ndarray]:
    """Errors (N, 6) of poses in units of the trajectory and their deviations, of (N,) updates with a pose.

    The trajectory starts where the first keyframe was.
    """
    found = [update for update in updates if update.pose]
    errors = np.zeros((len(found), 6))
    for row, update in enumerate(found):
        T_base_true = MOUNT @ curve(0.0).inverse() @ curve(update.stamp) @ MOUNT.inverse()
        estimate = update.pose.pose
        errors[row, :3] = estimate.translation - unit * T_base_true.translation
        errors[row, 3:] = so3.log(estimate.rotation @ T_base_true.rotation.T)
    return errors, np.array([np.sqrt(np.diag(update.pose.covariance)) for update in found])


@pytest.fixture(scope="module")
def bridged() -> list[OdometryUpdate]:
    return flight(odometry_prior(curve))


def lost(updates: list[OdometryUpdate]) -> list[OdometryUpdate]:
    return [update for update in updates if update.state is TrackingState.LOST]


def unit_of(updates: list[OdometryUpdate]) -> float:
    """Units of the trajectory per metre: the first step of the camera is one unit."""
    first = next(update.edge for update in updates if update.edge)
    true = curve(first.previous_stamp).inverse() @ curve(first.current_stamp)
    return 1.0 / float(np.linalg.norm(true.translation))


def test_pose_goes_on_through_a_loss_while_the_state_stays_lost(bridged: list[OdometryUpdate]):
    assert len(lost(bridged)) >= len(DARK)
    assert all(update.bridged and update.pose and update.twist for update in lost(bridged))
    assert not any(update.bridged for update in bridged if update.state is not TrackingState.LOST)
    unit = unit_of(bridged)
    wrong, sigmas = errors(lost(bridged), unit)
    assert np.abs(wrong[:, :3]).max() < 0.15 * unit
    assert np.all(np.abs(wrong) < 3.0 * sigmas)
    for update in lost(bridged):
        speed = np.linalg.norm(update.twist.linear) / unit
        assert speed == pytest.approx(np.linalg.norm([0.9, 0.05, 0.3]), rel=0.1)


def test_covariance_grows_through_the_loss_but_less_than_without_prior(bridged: list[OdometryUpdate]):
    traces = [np.trace(update.pose.covariance) for update in lost(bridged)]
    assert np.all(np.diff(traces) > 0.0)
    assert all(positive_definite(update.pose.covariance) for update in lost(bridged))
    after = [[update for update in run if update.pose][-1] for run in (bridged, flight(None))]
    positions = [np.trace(update.pose.covariance[:3, :3]) for update in after]
    assert positions[0] < 0.5 * positions[1]


def test_edge_after_the_gap_is_marked_and_continues_the_chain(bridged: list[OdometryUpdate]):
    edges = [update.edge for update in bridged if update.edge]
    (row,) = [row for row, edge in enumerate(edges) if edge.bridged]
    edge, before = edges[row], edges[row - 1]
    assert (edge.previous_id, edge.previous_stamp) == (before.current_id, before.current_stamp)
    assert edge.previous_stamp < PERIOD * DARK[0] < PERIOD * DARK[-1] < edge.current_stamp
    true = base_motion(curve, edge.previous_stamp, edge.current_stamp)
    deviation = np.sqrt(np.diag(edge.base.covariance))
    off = edge.base.pose.translation - unit_of(bridged) * true.translation
    assert np.all(np.abs(off) < 3.0 * deviation[:3])
    assert so3.geodesic_angle(edge.base.pose.rotation, true.rotation) < 0.02


def test_without_prior_nothing_is_published_while_lost():
    updates = flight(None)
    assert lost(updates)
    assert not any(update.bridged or update.pose for update in lost(updates))
    assert not any(update.edge.bridged for update in updates if update.edge)


def test_gyroscope_bridges_the_rotation_and_holds_the_position():
    updates = flight(gyro_prior(curve))
    before = [update for update in updates[: DARK[0]] if update.pose][-1]
    assert lost(updates)
    for update in lost(updates):
        assert update.bridged
        true = base_motion(curve, before.stamp, update.stamp).rotation
        turn = before.pose.pose.rotation.T @ update.pose.pose.rotation
        assert so3.geodesic_angle(turn, true) < 0.01
        np.testing.assert_allclose(update.pose.pose.translation, before.pose.pose.translation, atol=1e-9)
    sigmas = [np.sqrt(np.trace(update.pose.covariance[:3, :3])) for update in lost(updates)]
    moved = unit_of(updates) * np.linalg.norm([0.9, 0.05, 0.3]) * PERIOD * len(DARK)
    assert sigmas[-1] > 0.5 * moved


def test_prior_whose_lengths_do_not_agree_bridges_only_the_rotation():
    """Slipping wheels: the lengths of the steps have no common ratio to those of the images."""

    class Slipping(OdometryPrior):
        def between(self, start: float, end: float):
            motion = super().between(start, end)
            slip = np.exp(2.0 * np.sin(7.0 * end))
            return replace(motion, pose=Pose(motion.pose.rotation, slip * motion.pose.translation))

    prior = odometry_prior(curve)
    updates = flight(Slipping(prior._history, nanoseconds))
    before = [update for update in updates[: DARK[0]] if update.pose][-1]
    assert lost(updates)
    for update in lost(updates):
        np.testing.assert_allclose(update.pose.pose.translation, before.pose.pose.translation, atol=1e-9)


def test_prior_that_ends_during_the_loss_ends_the_bridge():
    updates = lost(flight(odometry_prior(curve, until=PERIOD * DARK[4])))
    assert updates[0].bridged
    assert not updates[-1].bridged
    assert updates[-1].pose is None


def test_covariance_of_the_twist_counts_and_huge_variances_are_limited():
    trusted, wide, useless = (
        lost(flight(odometry_prior(curve, speed_variance=variance)))[-1].pose.covariance
        for variance in (0.0, 0.02, 1e6)
    )
    assert np.all(np.diag(wide) > np.diag(trusted))
    assert np.trace(useless) < 100.0 * np.trace(flight(None)[-1].pose.covariance)


def turning(time: float) -> Pose:
    """Slowly to the right, with a turn of 34 degrees to and fro in a fifth of a second."""
    yaw = 0.6 * np.clip((time - 2.0) / 0.1, 0.0, 1.0) * np.clip((2.4 - time) / 0.1, 0.0, 1.0)
    return pose(-1.5 + 0.6 * time, turn=(0.0, yaw, 0.0))


def test_fast_turn_is_tracked_with_a_prior_and_lost_without():
    config = replace(CONFIG, lost_patience=0.0)
    states = {}
    for name, prior in (("none", None), ("gyroscope", gyro_prior(turning))):
        vo = VisualOdometry(EpipolarEstimator(LucasKanadeFrontEnd()), config, MOUNT, prior=prior)
        updates = [vo.process(frame(PERIOD * k, turning(PERIOD * k))) for k in range(30)]
        states[name] = {update.state for update in updates[15:]}
    assert TrackingState.LOST in states["none"]
    assert states["gyroscope"] == {TrackingState.TRACKING}


def test_gyroscope_ignores_what_is_out_of_order_and_refuses_gaps():
    history = GyroHistory()
    for time in (0.0, 0.1, 0.05, 0.2, 1.0):
        history.add_rate(nanoseconds(time), np.array([0.0, 0.0, 0.5]))
    turn = history.between(0, nanoseconds(0.2)).rotation
    np.testing.assert_allclose(so3.log(turn), [0.0, 0.0, 0.1], atol=1e-12)
    with pytest.raises(EstimationError, match=r"imu has a gap of 0\.80 s"):
        history.between(0, nanoseconds(0.5))
