"""The parts of the set-up that can be tested without building an environment, and the environment in use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from interface_packages import replace_builder_paths
from prerequisites import SetupError, check_python, describe_missing
from setup_environment import WHEELS, Environment, chosen_wheels, create_venv
from steps import Step, run_quietly, run_steps

ROOT = Path(__file__).resolve().parent.parent


def test_an_old_python_is_named_together_with_what_to_do():
    with pytest.raises(
        SetupError, match=r"Python 3\.10 or newer is needed and /usr/bin/python3 is 3\.9\.2: .*make"
    ):
        check_python((3, 9, 2), "/usr/bin/python3")
    check_python((3, 10, 0), "python3")


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ({"g++": "g++"}, "g++ is missing: install with `apt-get install g++`"),
        (
            {"gcc": "gcc", "cmake": "cmake"},
            "gcc and cmake are missing: install with `apt-get install gcc cmake`",
        ),
    ],
)
def test_missing_tools_are_named_in_one_sentence(missing, sentence):
    described = describe_missing(missing)
    assert described.startswith(sentence)
    assert described.count(".") == 1
    assert "\n" not in described


def test_a_machine_without_compilers_gets_one_sentence(tmp_path):
    command = [sys.executable, "-S", str(ROOT / "tools/setup_environment.py"), str(tmp_path / "venv")]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(
        "gcc, g++ and cmake are missing: install with `apt-get install gcc g++ cmake`"
    )
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "venv").exists()


def test_the_wheel_builders_header_folders_are_replaced_for_every_python():
    text = (
        'set(A "/opt/python/cp312-cp312/include/python3.12;'
        '/opt/python/cp312-cp312/lib/python3.12/site-packages/numpy/_core/include;/usr/include")'
    )
    assert replace_builder_paths(text, "/py", r"/np\1") == r'set(A "/py;/np\1;/usr/include")'
    assert replace_builder_paths("include(foo)", "/py", "/np") == "include(foo)"


def recorded_steps(folder, ran):
    first, second = folder / "first.txt", folder / "second.txt"
    for path in (first, second):
        path.touch()
    return [
        Step("one", lambda: ran.append("one"), (first,)),
        Step("two", lambda: ran.append("two"), (second,)),
        Step("three", lambda: ran.append("three"), (), ("fact",)),
    ]


def test_a_second_run_skips_every_step(tmp_path, capsys):
    ran: list[str] = []
    steps = recorded_steps(tmp_path, ran)
    assert run_steps(steps, tmp_path / "stamps") == 3
    capsys.readouterr()
    assert run_steps(steps, tmp_path / "stamps") == 0
    assert ran == ["one", "two", "three"]
    assert capsys.readouterr().out == ""


def test_a_changed_input_runs_its_step_and_those_after_it(tmp_path):
    ran: list[str] = []
    steps = recorded_steps(tmp_path, ran)
    run_steps(steps, tmp_path / "stamps")
    ran.clear()
    (tmp_path / "second.txt").write_text("changed")
    assert run_steps(steps, tmp_path / "stamps") == 2
    assert ran == ["two", "three"]


def test_a_failed_step_runs_again(tmp_path):
    ran = []

    def fail_once():
        ran.append("step")
        if len(ran) == 1:
            raise SetupError("no")

    steps = [Step("step", fail_once)]
    with pytest.raises(SetupError):
        run_steps(steps, tmp_path)
    assert run_steps(steps, tmp_path) == 1


def test_a_folder_that_is_no_virtual_environment_is_not_replaced(tmp_path):
    (tmp_path / "precious.txt").write_text("keep me")
    with pytest.raises(SetupError, match="not a virtual environment"):
        create_venv(Environment(tmp_path, ""))
    assert (tmp_path / "precious.txt").read_text() == "keep me"


@pytest.mark.parametrize("release", WHEELS)
def test_each_release_of_ros_has_requirements_and_constraints_of_its_own(release, tmp_path):
    environment = Environment(tmp_path, "", release)
    files = [*environment.requirements(), *environment.constraints()]
    assert all(path.is_file() for path in files)
    of_ros = {path.name for path in files if "ros-" in path.name}
    assert of_ros == {f"ros-{release}.txt", f"ros-{release}-build.txt", f"constraints-ros-{release}.txt"}


def test_beside_a_distribution_nothing_of_ros_is_installed(tmp_path):
    environment = Environment(tmp_path, "humble")
    files = [*environment.requirements(), *environment.constraints()]
    assert not any("ros-" in path.name for path in files)


def test_wheels_are_those_asked_for_or_the_default():
    assert chosen_wheels("", "") == WHEELS[0] == "kilted"
    assert chosen_wheels("jazzy", "") == "jazzy"
    assert chosen_wheels("jazzy", "jazzy") in WHEELS


@pytest.mark.parametrize(
    ("name", "distribution", "sentence"),
    [
        ("humble", "", "humble cannot be installed from wheels: kilted and jazzy can"),
        ("jazzy", "humble", "jazzy is asked for and humble is sourced"),
    ],
)
def test_a_release_that_cannot_be_had_is_named(name, distribution, sentence):
    with pytest.raises(SetupError, match=sentence):
        chosen_wheels(name, distribution)


def test_make_keeps_an_environment_for_each_release():
    def folder(*arguments):
        command = ["make", "-n", "venv", *arguments]
        # Of the make that runs the tests nothing may reach this one.
        env = {"PATH": os.environ["PATH"]}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        return done.stdout.split()[2:]

    assert folder() == folder("ROS=kilted")[:1] == [".venv"]
    assert folder("ROS=jazzy") == [".venv-jazzy", "jazzy"]


def test_a_failing_command_shows_the_end_of_its_output():
    code = "import sys; print('\\n'.join(f'line {i}' for i in range(100))); sys.exit(3)"
    with pytest.raises(SetupError, match="exit status 3") as raised:
        run_quietly([sys.executable, "-c", code])
    assert "line 99" in str(raised.value)
    assert "line 10\n" not in str(raised.value)


@pytest.mark.parametrize("inherited", ["nothing", "guard of the wheels", "foreign library path"])
def test_ros_is_importable_in_a_child_process_whatever_it_inherits(inherited):
    env = {"HOME": os.environ.get("HOME", "/"), "PATH": os.environ["PATH"]}
    if os.environ.get("ROS_DISTRO"):
        pytest.skip("a ROS distribution is sourced: it needs the variables that its set-up script has set")
    if inherited == "guard of the wheels":
        env["_ROS_WHEELS_BOOTSTRAP_COMPLETE"] = "1"
    if inherited == "foreign library path":
        env["LD_LIBRARY_PATH"] = "/somewhere/else"
    code = (
        "import rclpy.type_support, iup_pose_msgs.msg, tf2_msgs.msg\n"
        "rclpy.type_support.check_for_type_support(iup_pose_msgs.msg.RelativePose)\n"
        "rclpy.type_support.check_for_type_support(tf2_msgs.msg.TFMessage)\n"
        "from ament_index_python.packages import get_package_share_directory\n"
        "print(get_package_share_directory('iup_pose_ros'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (Path(done.stdout.strip()) / "package.xml").samefile(ROOT / "package.xml")
