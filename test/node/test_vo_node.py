"""What the node publishes about a camera that passes a wall sideways, mounted on a robot."""

from __future__ import annotations

import numpy as np
import pytest
from child_node import wait_until
from iup_pose_msgs.msg import TrackingState
from moving_texture import view
from node_bench import CAMERA_FRAME, OUTPUTS, STATE_TOPIC, camera_info, image_message
from rclpy.qos import DurabilityPolicy, QoSProfile

from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance, pose_error
from iup_pose_ros.stamps import nanoseconds

# Optical axes on a robot: x forward, y left, z up; half a metre ahead of base_link.
MOUNT = Pose.from_quaternion(np.array([-0.5, 0.5, -0.5, 0.5]), np.array([0.5, 0.1, 0.3]))
ODOMETRY = "/vo_node/odometry"
START = 1_700_000_000_123_456_789
PERIOD = 33_333_337
FRAMES = 36
STAMPS = [START + index * PERIOD for index in range(FRAMES)]


@pytest.fixture(scope="module")
def node(start_module_node):
    return start_module_node()


@pytest.fixture(scope="module")
def flight(bench, node):
    """The bench after the node has seen the camera move right by 5 cm per image."""
    bench.mount_camera(MOUNT.quaternion, MOUNT.translation)
    bench.wait_for_node()
    for index, stamp in enumerate(STAMPS):
        bench.show(image_message(view(0.05 * index), stamp), camera_info(stamp))
    last_edge = bench.received("/vo_node/keyframe_edge")[-1]
    bench.wait_for("/vo_node/relative_pose", lambda message: message.header.stamp == last_edge.header.stamp)
    for topic, last in (("/vo_node/odometry", STAMPS[-1]), ("/vo_node/twist", sum(STAMPS[-2:]) // 2)):
        bench.wait_for(topic, lambda message, last=last: abs(nanoseconds(message.header.stamp) - last) <= 1)
    bench.wait_for("/tf", lambda message: nanoseconds(message.transforms[0].header.stamp) == STAMPS[-1])
    return bench


def pose_of(message):
    """PoseWithCovariance of a geometry_msgs/PoseWithCovariance."""
    q, t = message.pose.orientation, message.pose.position
    pose = Pose.from_quaternion(np.array([q.x, q.y, q.z, q.w]), np.array([t.x, t.y, t.z]))
    return PoseWithCovariance(pose, np.reshape(message.covariance, (6, 6)))


def edges(flight):
    return flight.received("/vo_node/keyframe_edge")


def test_every_output_is_published(flight):
    for topic in OUTPUTS:
        assert len(flight.received(topic)) >= 3, topic


def test_every_image_has_a_tracking_state_with_its_stamp(flight):
    states = [state for state in flight.states() if state.frames_received]
    assert [nanoseconds(state.header.stamp) for state in states] == STAMPS
    assert {state.header.frame_id for state in states} == {CAMERA_FRAME}
    last = states[-1]
    assert (last.state, last.reason) == (last.TRACKING, "")
    assert (last.frames_received, last.frames_processed) == (FRAMES, FRAMES)
    assert (last.frames_dropped_busy, last.frames_dropped_invalid) == (0, 0)
    assert last.keyframes == edges(flight)[-1].current_id + 1


def test_covariances_are_finite_symmetric_and_positive_definite(flight):
    messages = [
        message.pose
        for topic in ("relative_pose", "keyframe_edge", "odometry")
        for message in flight.received(f"/vo_node/{topic}")
    ]
    twists = [message.twist for message in flight.received("/vo_node/twist")]
    for message in messages + twists:
        covariance = np.reshape(message.covariance, (6, 6))
        assert np.isfinite(covariance).all()
        np.testing.assert_allclose(covariance, covariance.T, rtol=1e-9)
        assert np.linalg.eigvalsh(covariance).min() > 0.0


def test_frames_are_those_of_the_parameters(flight):
    assert {message.header.frame_id for message in flight.received("/vo_node/relative_pose")} == {
        CAMERA_FRAME
    }
    assert {message.header.frame_id for message in edges(flight)} == {"base_link"}
    assert {message.header.frame_id for message in flight.received("/vo_node/twist")} == {"base_link"}
    odometry = flight.received("/vo_node/odometry")
    assert {(message.header.frame_id, message.child_frame_id) for message in odometry} == {
        ("odom", "base_link")
    }
    transforms = [message.transforms[0] for message in flight.received("/tf")]
    assert {(item.header.frame_id, item.child_frame_id) for item in transforms} == {("odom", "base_link")}


def test_stamps_are_those_of_the_images_to_the_nanosecond(flight):
    for edge, following in zip(edges(flight), edges(flight)[1:], strict=False):
        assert (following.previous_id, following.previous_stamp) == (edge.current_id, edge.header.stamp)
    used = {nanoseconds(edge.header.stamp) for edge in edges(flight)}
    assert used | {nanoseconds(edges(flight)[0].previous_stamp)} <= set(STAMPS)
    relative = [nanoseconds(message.header.stamp) for message in flight.received("/vo_node/relative_pose")]
    assert relative == sorted(used)


def test_odometry_twist_and_transform_leave_at_every_image_from_the_first_step_on(flight):
    expected = STAMPS[STAMPS.index(nanoseconds(edges(flight)[0].header.stamp)) :]
    assert len(expected) > 3 * len(edges(flight))
    assert [nanoseconds(message.header.stamp) for message in flight.received("/vo_node/odometry")] == expected
    assert len(flight.received("/vo_node/twist")) == len(expected)
    assert [nanoseconds(message.transforms[0].header.stamp) for message in flight.received("/tf")] == expected


def test_edges_are_the_motion_of_the_base_on_which_the_camera_is_mounted(flight):
    for relative, edge in zip(flight.received("/vo_node/relative_pose"), edges(flight), strict=True):
        expected = pose_of(relative.pose).change_of_frame(MOUNT)
        actual = pose_of(edge.pose)
        np.testing.assert_allclose(actual.pose.matrix, expected.pose.matrix, atol=1e-9)
        np.testing.assert_allclose(actual.covariance, expected.covariance, rtol=1e-6, atol=1e-12)
        sigma = np.sqrt(np.diag(expected.covariance)[3:])
        np.testing.assert_allclose(edge.sigma_rotation, sigma, rtol=1e-6)


def test_camera_moving_right_moves_the_base_right(flight):
    for edge in edges(flight):
        position = pose_of(edge.pose).pose.translation
        assert position[1] < 0.0
        assert abs(position[1]) > 5.0 * np.abs(position[[0, 2]]).max()


def test_odometry_moves_by_the_edges_within_their_covariance(flight):
    at = {nanoseconds(message.header.stamp): message for message in flight.received("/vo_node/odometry")}
    before = Pose.identity()
    for edge in edges(flight):
        after = pose_of(at[nanoseconds(edge.header.stamp)].pose).pose
        step = pose_of(edge.pose)
        # The window of keyframes refines the step by at most 99.7 % of its covariance.
        error = pose_error(before.inverse() @ after, step.pose)
        assert error @ np.linalg.solve(step.covariance, error) < 20.0
        before = after


def test_transform_is_the_pose_of_the_odometry(flight):
    transforms = [message.transforms[0].transform for message in flight.received("/tf")]
    for odometry, transform in zip(flight.received("/vo_node/odometry"), transforms, strict=True):
        position = odometry.pose.pose.position
        assert transform.translation == type(transform.translation)(x=position.x, y=position.y, z=position.z)
        assert transform.rotation == odometry.pose.pose.orientation


def test_twist_is_the_speed_at_every_image(flight):
    first = edges(flight)[0]
    seconds = (nanoseconds(first.header.stamp) - nanoseconds(first.previous_stamp)) * 1e-9
    speed = np.linalg.norm(pose_of(first.pose).pose.translation) / seconds
    for odometry, twist in zip(
        flight.received("/vo_node/odometry"), flight.received("/vo_node/twist"), strict=True
    ):
        linear = twist.twist.twist.linear
        np.testing.assert_allclose(np.linalg.norm([linear.x, linear.y, linear.z]), speed, rtol=0.1)
        assert odometry.twist == twist.twist


def test_twist_has_the_stamp_of_the_middle_of_its_interval(flight):
    images = [nanoseconds(message.header.stamp) for message in flight.received("/vo_node/odometry")]
    twists = [nanoseconds(message.header.stamp) for message in flight.received("/vo_node/twist")]
    for before, after, twist in zip(images[:-1], images[1:], twists[1:], strict=True):
        assert abs(twist - (before + after) // 2) <= 1


def test_positions_advance_without_a_jump(flight):
    positions = np.array([pose_of(message.pose).pose.translation for message in flight.received(ODOMETRY)])
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    np.testing.assert_allclose(steps, np.median(steps), rtol=0.15)


def test_edges_say_how_they_were_made(flight):
    for edge in edges(flight):
        assert (edge.estimator, edge.scale_source, edge.metric) == ("epipolar_klt", "relative", False)
        assert edge.tracking_state == edge_state(flight, edge)
        assert edge.inference_time > 0.0
        assert edge.sigma_direction > 0.0


def edge_state(flight, edge):
    return next(state.state for state in flight.states() if state.header.stamp == edge.header.stamp)


def test_late_subscriber_learns_the_state(flight):
    heard: list[TrackingState] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    flight.node.create_subscription(TrackingState, STATE_TOPIC, heard.append, latched)
    last = flight.states()[-1]
    wait_until(
        lambda: last in heard, 10.0, lambda: f"a late subscriber does not hear the last state: {heard}"
    )
    assert heard[-1] == last


def test_node_ends_with_exit_code_0(flight, node):
    assert node.stop() == 0
    assert "Traceback" not in node.log
