"""The managed node goes up and down, and its parameters change where that has an effect."""

from __future__ import annotations

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from moving_texture import view
from node_bench import camera_info, image_message
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters

PERIOD = 50_000_000
OUTPUTS = ("relative_pose", "keyframe_edge", "odometry", "twist")


@pytest.fixture(scope="module")
def node(start_module_node):
    return start_module_node(parameters={"autostart": False, "assume_identity_mount": True})


def change_state(bench, transition):
    request = ChangeState.Request(transition=Transition(id=transition))
    return bench.call(ChangeState, "change_state", request).success


def state_of(bench):
    return bench.call(GetState, "get_state", GetState.Request()).current_state.label


def set_text(bench, name, value):
    """The result of setting a text parameter."""
    parameter = Parameter(name=name)
    parameter.value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)
    return bench.call(SetParameters, "set_parameters", SetParameters.Request(parameters=[parameter])).results[
        0
    ]


def drive(bench, images, start=0, pixels=None):
    """Tracking states of so many images of the moving camera, or of the same pixels."""
    states = []
    for index in range(images):
        stamp = 1_700_000_000_000_000_000 + (start + index) * PERIOD
        shown = view(0.08 * (start + index)) if pixels is None else pixels
        states.append(bench.show(image_message(shown, stamp), camera_info(stamp)))
    return states


@pytest.fixture
def active(bench, node):
    """The bench with the node active, and back to unconfigured afterwards."""
    bench.clear()
    assert change_state(bench, Transition.TRANSITION_CONFIGURE)
    assert change_state(bench, Transition.TRANSITION_ACTIVATE)
    bench.wait_for_node()
    yield bench
    if state_of(bench) == "active":
        assert change_state(bench, Transition.TRANSITION_DEACTIVATE)
    assert change_state(bench, Transition.TRANSITION_CLEANUP)


def test_node_without_autostart_waits_for_its_manager(bench, node):
    assert state_of(bench) == "unconfigured"
    assert bench.wait_for_reason("not configured").state == 0


@pytest.mark.parametrize("turn", [1, 2])
def test_node_works_each_time_it_is_activated(active, turn):
    states = drive(active, 8)
    assert states[-1].state == states[-1].TRACKING
    assert states[-1].frames_received == 8
    first = active.received("/vo_node/keyframe_edge")[0]
    assert (first.previous_id, first.current_id) == (0, 1)


def test_inactive_node_says_so_and_is_silent(active):
    drive(active, 8)
    assert change_state(active, Transition.TRANSITION_DEACTIVATE)
    active.wait_for_reason("the node is inactive")
    assert active.node.count_subscribers("/image") == 0


def test_images_without_texture_are_lost_and_nothing_else_is_published(active):
    assert drive(active, 8)[-1].state == 1
    black = np.zeros((240, 320, 3), dtype=np.uint8)
    states = drive(active, 6, start=8, pixels=black)
    assert states[-1].state == states[-1].LOST
    assert states[-1].reason
    recovered = drive(active, 12, start=14)
    assert recovered[-1].state == 1
    stamps = [state.header.stamp for state in states if state.state == state.LOST]
    for topic in OUTPUTS:
        assert not [
            message for message in active.received(f"/vo_node/{topic}") if message.header.stamp in stamps
        ]


def test_parameter_in_use_does_not_change_and_says_why(active):
    result = set_text(active, "base_frame", "chassis")
    assert not result.successful
    assert "base_frame can only change while the node is unconfigured" in result.reason


def test_parameter_set_before_configuring_takes_effect(bench, node):
    assert set_text(bench, "base_frame", "chassis").successful
    bench.clear()
    assert change_state(bench, Transition.TRANSITION_CONFIGURE)
    assert change_state(bench, Transition.TRANSITION_ACTIVATE)
    bench.wait_for_node()
    drive(bench, 8)
    assert bench.received("/vo_node/odometry")[-1].child_frame_id == "chassis"
    assert change_state(bench, Transition.TRANSITION_DEACTIVATE)
    assert change_state(bench, Transition.TRANSITION_CLEANUP)
    assert set_text(bench, "base_frame", "base_link").successful


def test_value_that_is_not_accepted_is_refused_with_the_reason(bench, node):
    result = set_text(bench, "estimator", "orb")
    assert not result.successful
    assert "accepted are '" in result.reason


def test_parameters_are_described(bench, node):
    request = DescribeParameters.Request(names=["sync_slop", "maximum_tracks", "scale_source"])
    slop, tracks, scale = bench.call(DescribeParameters, "describe_parameters", request).descriptors
    assert "stamps" in slop.description
    assert (slop.floating_point_range[0].from_value, slop.floating_point_range[0].to_value) == (0.0, 1.0)
    assert (tracks.integer_range[0].from_value, tracks.integer_range[0].to_value) == (50, 5000)
    assert scale.additional_constraints == "one of: relative, odometry, depth, range, camera_height, fixed"
