"""~/reset, ~/pause and ~/save_trajectory answer in every state of the life cycle, and do what they say."""

from __future__ import annotations

import numpy as np
import pytest
from child_node import wait_until
from iup_pose_msgs.srv import SaveTrajectory
from node_bench import Drive, stamp_of
from std_srvs.srv import SetBool, Trigger

from iup_pose_ros.bags.trajectory_io import read_tum
from iup_pose_ros.stamps import nanoseconds

ODOMETRY = "/vo_node/odometry"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("output") / "made_when_needed"


@pytest.fixture(scope="module")
def node(start_module_node, folder):
    return start_module_node(
        parameters={"autostart": False, "assume_identity_mount": True, "output_directory": str(folder)}
    )


@pytest.fixture
def drive(bench, node):
    """A camera before the node, which is active, not paused, and has taken no image yet."""
    assert pause(bench, False).success
    bench.start_afresh()
    return Drive(bench)


def reset(bench):
    return bench.call(Trigger, "reset", Trigger.Request())


def pause(bench, paused):
    return bench.call(SetBool, "pause", SetBool.Request(data=paused))


def save(bench, filename=""):
    return bench.call(SaveTrajectory, "save_trajectory", SaveTrajectory.Request(filename=filename))


def test_unconfigured_node_answers_with_the_reason(bench, node):
    bench.bring_to("unconfigured")
    for answer in (reset(bench), save(bench)):
        assert (answer.success, answer.message) == (False, "the node is not configured")
    assert pause(bench, True).success
    assert pause(bench, False).success


def test_inactive_node_can_be_reset_and_paused_and_has_nothing_to_save(bench, node):
    bench.bring_to("unconfigured")
    bench.bring_to("inactive")
    assert reset(bench).success
    assert "no pose yet" in save(bench).message
    assert pause(bench, True).success


def test_node_that_was_paused_before_it_is_active_takes_no_image_until_it_may(bench, node):
    bench.bring_to("unconfigured")
    assert pause(bench, True).success
    bench.clear()
    bench.bring_to("active")
    state = bench.wait_for_reason("paused; call ~/pause with data: false to resume")
    assert bench.node.count_subscribers("/image") == 0
    assert state.frames_received == 0
    assert pause(bench, False).success
    bench.wait_for_node()
    assert Drive(bench).show(10)[-1].state == 1


def test_saved_file_holds_the_poses_of_the_keyframes_and_is_replaced(bench, drive, folder):
    drive.show(10)
    answer = save(bench, "runs_of_today.tum")
    assert answer.success, answer.message
    assert answer.path == str(folder / "runs_of_today.tum")
    odometry = bench.received(ODOMETRY)
    trajectory = read_tum(answer.path)
    assert answer.poses == len(trajectory.stamps) == len(odometry)
    for message, position in zip(odometry, trajectory.positions, strict=True):
        point = message.pose.pose.position
        np.testing.assert_allclose(position, [point.x, point.y, point.z], atol=1e-8)
    stamps = [line.split()[0] for line in (folder / "runs_of_today.tum").read_text().splitlines()[1:]]
    exact = [nanoseconds(message.header.stamp) for message in odometry]
    assert stamps == [f"{stamp // 10**9}.{stamp % 10**9:09d}" for stamp in exact]
    drive.show(6)
    assert save(bench, "runs_of_today.tum").poses == len(bench.received(ODOMETRY)) > len(odometry)
    assert not [path for path in folder.iterdir() if "runs_of_today" in path.name][1:]


def test_the_name_of_the_file_has_a_default(bench, drive, folder):
    drive.show(10)
    assert save(bench).path == str(folder / "trajectory.tum")


@pytest.mark.parametrize("name", ["../out.tum", "/tmp/out.tum", "a/../../out.tum", ".", "link/out.tum"])
def test_nothing_is_written_outside_the_folder(bench, drive, folder, name):
    drive.show(10)  # without a pose there is nothing to save, whatever the name
    folder.mkdir(exist_ok=True)
    link = folder / "link"
    if not link.is_symlink():
        link.symlink_to(folder.parent)
    before = sorted(folder.parent.rglob("*"))
    answer = save(bench, name)
    assert not answer.success
    assert "is outside output_directory" in answer.message
    assert (answer.path, answer.poses) == ("", 0)
    assert sorted(folder.parent.rglob("*")) == before


def test_paused_node_ignores_images_and_goes_on_afterwards(bench, drive):
    before = drive.show(10)[-1]
    bench.clear()
    assert pause(bench, True).success
    state = bench.wait_for_reason("paused;")
    assert state.state == state.LOST
    wait_until(lambda: bench.node.count_subscribers("/image") == 0, 10.0, lambda: "still subscribed")
    ignored = [drive.messages(), drive.messages()]
    for image, info in ignored:
        bench.infos.publish(info)
        bench.images.publish(image)
    assert pause(bench, True).success
    assert pause(bench, False).success
    bench.wait_for_node()
    states = drive.show(10)
    assert states[-1].state == 1
    assert states[-1].frames_received == before.frames_received + 10
    assert not {stamp_of(image) for image, _ in ignored} & {stamp_of(state) for state in bench.states()}


def test_reset_brings_the_pose_back_to_the_origin(bench, drive):
    drive.show(18)
    far = np.linalg.norm(position_of(bench.received(ODOMETRY)[-1]))
    before = trace_of(bench.received(ODOMETRY)[-1])
    bench.clear()
    assert reset(bench).success
    assert bench.wait_for_reason("reset to the origin").state == 0
    states = drive.show(8)
    assert states[-1].state == 1
    first = bench.received("/vo_node/keyframe_edge")[0]
    assert (first.previous_id, first.current_id) == (0, 1)
    begin = bench.received(ODOMETRY)[0]
    assert np.linalg.norm(position_of(begin)) == pytest.approx(1.0, rel=1e-3)
    assert far > 1.5
    assert trace_of(begin) < before
    assert save(bench).poses == len(bench.received(ODOMETRY))


def position_of(message):
    point = message.pose.pose.position
    return np.array([point.x, point.y, point.z])


def trace_of(message):
    return float(np.trace(np.reshape(message.pose.covariance, (6, 6))[:3, :3]))


def test_inactive_node_still_saves_and_a_reset_forgets(bench, drive):
    drive.show(10)
    assert bench.change_state("deactivate")
    assert save(bench).success
    assert reset(bench).success
    assert "no pose yet" in save(bench).message
