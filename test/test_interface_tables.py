"""The tables in docs/ and README.md, and RViz's view, show the interface that the node has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import interface_tables
import pytest
import rclpy
import sros2_policy
import yaml

from iup_pose_ros.node.settings import PARAMETERS
from iup_pose_ros.odometry import TrackingState

ROOT = Path(__file__).resolve().parent.parent
# What every managed node has, whatever it does.
TOPICS_OF_ROS = {"/parameter_events", "/rosout", "/vo_node/transition_event", "/clock"}
TYPES_OF_ROS = ("rcl_interfaces/", "lifecycle_msgs/", "type_description_interfaces/")
DISPLAYS = {
    "rviz_default_plugins/Grid": None,
    "rviz_default_plugins/TF": "tf2_msgs/TFMessage",
    "rviz_default_plugins/Path": "nav_msgs/Path",
    "rviz_default_plugins/Odometry": "nav_msgs/Odometry",
    "rviz_default_plugins/Image": "sensor_msgs/Image",
}
TOOLS = {
    "Interact",
    "MoveCamera",
    "Select",
    "FocusCamera",
    "Measure",
    "SetInitialPose",
    "SetGoal",
    "PublishPoint",
}
VIEWS = {"Orbit", "XYOrbit", "TopDownOrtho", "ThirdPersonFollower", "FPS"}
PANELS = {"Displays", "Views", "Time", "Selection", "Tool Properties"}


# Of the sensors for metric scale, the node subscribes only to that of its scale_source, here wheel odometry.
SUBSCRIBED = {
    name: entry for name, entry in interface_tables.SUBSCRIBED.items() if name not in ("depth", "range")
}

# Subscribed with use_sim_time, compressed images or another scale_source only.
SUBSCRIBED_ELSEWHERE = {"/clock", "/image/compressed", "/depth", "/depth/compressedDepth", "/range"}


def full_name(name):
    return name.replace("~", "/vo_node", 1) if name.startswith("~") else f"/{name.lstrip('/')}"


def listed(entries):
    """Full name -> type, as ROS names them."""
    return {full_name(name): kind for name, (kind, _) in entries.items()}


@pytest.fixture(scope="module")
def graph(domain_id):
    """Topics and services of a running node: published, subscribed, served; full name -> type."""
    command = [
        sys.executable,
        "-m",
        "iup_pose_ros.node.vo_node",
        "--ros-args",
        "-p",
        "scale_source:=odometry",
        "-p",
        "motion_prior:=imu",
        "-p",
        "estimator:=epipolar_klt",  # starts at once
    ]
    process = subprocess.Popen(
        command,
        env={**os.environ, "ROS_DOMAIN_ID": str(domain_id)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain_id)
    node = rclpy.create_node("looker", context=context)

    def look():
        sides = (
            node.get_publisher_names_and_types_by_node,
            node.get_subscriber_names_and_types_by_node,
            node.get_service_names_and_types_by_node,
        )
        return [
            {
                name: kinds[0].replace("/msg/", "/").replace("/srv/", "/")
                for name, kinds in side("vo_node", "/")
            }
            for side in sides
        ]

    def is_complete(found):
        sides = (interface_tables.PUBLISHED, SUBSCRIBED, interface_tables.SERVICES)
        return all(listed(side).keys() <= names.keys() for side, names in zip(sides, found, strict=True))

    try:
        # Discovery takes its time: until everything listed is there, or what is missing can be told.
        deadline = time.monotonic() + 30.0
        found: list[dict[str, str]] = [{}, {}, {}]
        while not is_complete(found) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.2)
            if "vo_node" in node.get_node_names():
                found = look()
        yield found
    finally:
        process.kill()
        process.wait()
        rclpy.shutdown(context=context)


def without_ros(names):
    return {
        name: kind
        for name, kind in names.items()
        if name not in TOPICS_OF_ROS and not kind.startswith(TYPES_OF_ROS)
    }


def test_published_topics_are_those_of_the_node(graph):
    assert without_ros(graph[0]) == listed(interface_tables.PUBLISHED)


def test_subscribed_topics_are_those_of_the_node(graph):
    assert without_ros(graph[1]) == listed(SUBSCRIBED)


def test_services_are_those_of_the_node(graph):
    assert without_ros(graph[2]) == listed(interface_tables.SERVICES)


def test_the_policy_allows_what_the_node_has_and_no_more(graph):
    profile = ElementTree.fromstring(sros2_policy.policy()).find("enclaves/enclave/profiles/profile")
    for path, names, others in (
        ("topics[@publish='ALLOW']/topic", graph[0], set()),
        ("topics[@subscribe='ALLOW']/topic", graph[1], SUBSCRIBED_ELSEWHERE),
        ("services[@reply='ALLOW']/service", graph[2], set()),
    ):
        assert {full_name(entry.text) for entry in profile.findall(path)} == set(names) | others
    assert {group.tag for group in profile} == {"topics", "services"}


def test_pages_are_up_to_date():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/interface_tables.py"), "--check"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_parameter_and_state_has_a_row():
    rows = interface_tables.tables()["parameters"].splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(PARAMETERS)
    assert len(interface_tables.tables()["states"].splitlines()) == 2 + len(TrackingState)


def test_a_bar_in_a_cell_does_not_end_it():
    assert interface_tables.table(("a", "b"), [("x|y", "z")]).splitlines()[2] == r"| x\|y | z |"


def empty_page(names):
    return "Title\n" + "\n".join(
        f"<!-- {name}:begin -->\nstale words\n<!-- {name}:end -->\ntext {name}" for name in names
    )


STATES_PAGE = empty_page(["services", "states"])


def test_every_table_is_on_one_page():
    placed = [name for names in interface_tables.PAGES.values() for name in names]
    assert sorted(placed) == sorted(interface_tables.tables())


def test_only_what_stands_between_the_markers_changes():
    names = list(interface_tables.tables())
    text = interface_tables.updated(empty_page(names), names)
    assert "stale words" not in text
    assert text.startswith("Title\n")
    assert all(f"-->\ntext {name}" in text for name in names)
    assert interface_tables.updated(text, names) == text


@pytest.mark.parametrize("page", ["", STATES_PAGE * 2, STATES_PAGE.replace("states:end", "end")])
def test_missing_or_doubled_markers_are_named(page):
    with pytest.raises(ValueError, match="must both be there once"):
        interface_tables.updated(page, ["services", "states"])


def test_check_says_how_to_bring_the_pages_up_to_date(tmp_path, monkeypatch, capsys):
    for page, names in interface_tables.PAGES.items():
        (tmp_path / page).write_text(empty_page(names))
    monkeypatch.setattr(interface_tables, "DOCS", tmp_path)
    assert interface_tables.main(["--check"]) == 1
    complaints = capsys.readouterr().err.splitlines()
    command = "out of date: .venv/bin/python tools/interface_tables.py"
    assert complaints == [f"docs/{page} is {command}" for page in interface_tables.PAGES]
    for page, names in interface_tables.PAGES.items():
        assert (tmp_path / page).read_text() == empty_page(names)
    assert interface_tables.main([]) == 0
    assert interface_tables.main(["--check"]) == 0


def test_a_page_without_markers_fails_by_name(tmp_path, monkeypatch, capsys):
    for page in interface_tables.PAGES:
        (tmp_path / page).write_text("no markers")
    monkeypatch.setattr(interface_tables, "DOCS", tmp_path)
    assert interface_tables.main([]) == 1
    assert capsys.readouterr().err.startswith("docs/ros_interface.md: <!-- subscribed:begin -->")


def test_readme_names_topics_and_services_with_their_types():
    known = interface_tables.SUBSCRIBED | interface_tables.PUBLISHED | interface_tables.SERVICES
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[~/]?[a-z_/`, ~]+`) \| (`[a-z_]+/[^|]+`) \|", readme, flags=re.MULTILINE)
    assert len(rows) >= 8
    for names, types in rows:
        for name, kind in zip(names.split(", "), types.split(", "), strict=True):
            assert known[name.strip("`")][0] == kind.strip("`"), name


@pytest.fixture(scope="module")
def view():
    return yaml.safe_load((ROOT / "config" / "vo.rviz").read_text())


def test_rviz_has_every_plugin_that_the_view_names(view):
    manager = view["Visualization Manager"]
    assert {display["Class"] for display in manager["Displays"]} == set(DISPLAYS)
    assert {tool["Class"] for tool in manager["Tools"]} <= {f"rviz_default_plugins/{name}" for name in TOOLS}
    assert manager["Views"]["Current"]["Class"] in {f"rviz_default_plugins/{name}" for name in VIEWS}
    assert {panel["Class"] for panel in view["Panels"]} <= {f"rviz_common/{name}" for name in PANELS}


def test_the_view_shows_topics_of_the_node_with_the_displays_for_their_types(view, graph):
    displays = {display["Class"]: display for display in view["Visualization Manager"]["Displays"]}
    for plugin in ("Path", "Odometry", "Image"):
        display = displays[f"rviz_default_plugins/{plugin}"]
        assert graph[0][display["Topic"]["Value"]] == DISPLAYS[display["Class"]]
        assert display["Enabled"] is True
    assert displays["rviz_default_plugins/Odometry"]["Covariance"]["Value"] is True


def test_the_view_stands_in_the_frames_of_the_node(view):
    manager = view["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == PARAMETERS["odom_frame"].default
    assert manager["Views"]["Current"]["Target Frame"] == PARAMETERS["base_frame"].default
