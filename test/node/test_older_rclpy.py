"""What the node does where a release of rclpy offers less than the one it runs with."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from geometry_msgs.msg import TransformStamped
from rclpy.subscription import Subscription
from tf2_msgs.msg import TFMessage

from iup_pose_ros.node.parameters import unknown_overrides
from iup_pose_ros.node.tf_conflict import TransformOwnerWatch


class Graph:
    """Stands for a node in a graph with two more publishers of /tf."""

    def __init__(self):
        self.callbacks = {}
        self.warnings = []

    def create_subscription(self, message_type, topic, callback, qos):
        self.callbacks[topic] = callback

    def get_publishers_info_by_topic(self, topic):
        names = (("vo_node", "/"), ("ekf", "/robot"), ("wheels", "/"))
        return [
            SimpleNamespace(node_name=name, node_namespace=space, endpoint_gid=[number] * 16)
            for number, (name, space) in enumerate(names)
        ]

    def resolve_topic_name(self, topic):
        return topic

    def get_name(self):
        return "vo_node"

    def get_namespace(self):
        return "/"

    def get_logger(self):
        return SimpleNamespace(warning=self.warnings.append)


@pytest.fixture
def graph():
    return Graph()


def transforms():
    transform = TransformStamped(child_frame_id="base_link")
    transform.header.frame_id = "map"
    return TFMessage(transforms=[transform])


def test_without_gids_all_that_may_own_the_transform_are_named(graph):
    watch = TransformOwnerWatch(graph, "odom", "base_link")
    graph.callbacks["/tf"](transforms(), {"source_timestamp": 1})
    assert watch.warning.startswith("node /robot/ekf or /wheels broadcasts map -> base_link")


def test_with_a_gid_its_owner_is_named(graph):
    watch = TransformOwnerWatch(graph, "odom", "base_link")
    graph.callbacks["/tf"](transforms(), {"publisher_gid": {"data": bytes([2] * 16)}})
    assert watch.warning.startswith("node /wheels broadcasts map -> base_link")


def test_without_info_callbacks_take_the_message_alone(graph, monkeypatch):
    monkeypatch.delattr(Subscription, "CallbackType")
    watch = TransformOwnerWatch(graph, "odom", "base_link")
    graph.callbacks["/tf_static"](transforms())
    assert watch.warning.startswith("node /robot/ekf or /wheels broadcasts map -> base_link")


def test_own_transforms_are_known(graph):
    watch = TransformOwnerWatch(graph, "odom", "base_link")
    message = transforms()
    watch.sending(message.transforms[0])
    graph.callbacks["/tf"](message, {})
    assert watch.warning == ""


def test_warning_is_logged_once_while_it_lasts(graph):
    TransformOwnerWatch(graph, "odom", "base_link")
    for _ in range(5):
        graph.callbacks["/tf"](transforms(), {})
    assert len(graph.warnings) == 1


def test_overrides_that_rclpy_hides_are_not_looked_for():
    assert unknown_overrides(SimpleNamespace()) == []
    given = {"publish_ft": None, "publish_tf": None, "use_sim_time": None, "qos_overrides./tf.depth": None}
    (sentence,) = unknown_overrides(SimpleNamespace(_parameter_overrides=given))
    assert "did you mean 'publish_tf'?" in sentence
