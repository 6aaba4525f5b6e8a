"""The doctor's checks on live topics: complaints of the node's own inputs, and the checks of recordings."""

from __future__ import annotations

import os
import time
from dataclasses import asdict

import tf2_ros

from iup_pose_ros.bags.messages import COMPRESSED_IMAGE
from iup_pose_ros.bags.topics import CameraTopics, TopicSummary, find_camera
from iup_pose_ros.camera_config import CameraConfig
from iup_pose_ros.errors import DataError, ExtrinsicsError
from iup_pose_ros.node.camera_extrinsics import ExtrinsicsLookup
from iup_pose_ros.node.inputs import ImageInputs
from iup_pose_ros.node.monitor import Monitor
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.replay.doctor import CameraExamination, Finding, by_urgency, extrinsics_findings
from iup_pose_ros.replay.ros_session import ros_session

_DISCOVERY = 3.0
_PERIOD = 0.1


def find_live_camera(image_topic: str | None, info_topic: str | None) -> CameraTopics:
    """Return the topics of the only camera that is published, or of the one that is named.

    Raises:
        DataError: there is no camera, or more than one.
    """
    deadline = time.monotonic() + _DISCOVERY
    with ros_session("iup_pose_doctor", _environment()) as node:
        while True:
            # The number of publishers stands for that of messages.
            topics = {
                name: TopicSummary(kinds[0], node.count_publishers(name))
                for name, kinds in node.get_topic_names_and_types()
            }
            try:
                return find_camera(topics, image_topic, info_topic)
            except DataError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_PERIOD)


def examine_live(
    camera: CameraTopics, base_frame: str, config: CameraConfig, seconds: float
) -> list[Finding]:
    """Return the problems of a camera that publishes now, most urgent first.

    Args:
        camera: its topics.
        base_frame: frame of the robot, for the camera's extrinsics.
        config: settings for reading images and camera_info.
        seconds: how long to listen.
    """
    is_compressed = camera.image_kind == COMPRESSED_IMAGE
    node_config = NodeConfig(
        **asdict(config), image_transport="compressed" if is_compressed else "raw", input_timeout=seconds / 2
    )
    examination = CameraExamination(camera.image, camera.image_kind, config)
    remaps = {"image": camera.image, "camera_info": camera.info}
    with ros_session("iup_pose_doctor", _environment(), remaps) as node:
        buffer = tf2_ros.Buffer()
        tf2_ros.TransformListener(buffer, node)
        inputs = ImageInputs(node, node_config, Monitor(), examination.add)
        node.create_timer(_PERIOD, inputs.follow_publishers)
        time.sleep(seconds)
        fault, warnings, header = inputs.fault(), inputs.warnings, inputs.last_header
        findings = [] if fault is None else [Finding(fault.reason, is_fatal=True)]
        findings += [*examination.findings(), *(Finding(warning) for warning in warnings)]
        if examination.frame_id:
            lookup = ExtrinsicsLookup(buffer, base_frame, 1.0, False, lambda text: None)
            T_base_camera, missing = None, ""
            try:
                T_base_camera = lookup.find(examination.frame_id, header.stamp)
            except ExtrinsicsError as error:
                missing = f"no transform on TF ({error})"
            findings += extrinsics_findings(T_base_camera, missing, base_frame, examination.frame_id)
    return by_urgency(findings)


def _environment() -> dict[str, str]:
    """Return the environment of the user's own domain."""
    return {"ROS_DOMAIN_ID": "0", **os.environ}
