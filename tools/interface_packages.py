"""Builds ROS 2 interface packages (messages, services) from source with cmake."""

from __future__ import annotations

import os
import re
import shutil
import sysconfig
from pathlib import Path

from steps import run_quietly

# The wheels' exported cmake targets name the Python and NumPy headers of the machine that built the wheels.
BUILDER_NUMPY_INCLUDE = re.compile(r"/opt/python/[^/;]+/lib/python3\.\d+/site-packages/numpy/_?core/include")
BUILDER_PYTHON_INCLUDE = re.compile(r"/opt/python/[^/;]+/include/python3\.\d+")


def replace_builder_paths(text: str, python_include: str, numpy_include: str) -> str:
    """A wheel's cmake file with the header folders of this machine in place of the wheel builder's."""
    text = BUILDER_NUMPY_INCLUDE.sub(lambda _: numpy_include, text)
    return BUILDER_PYTHON_INCLUDE.sub(lambda _: python_include, text)


def repair_wheel_cmake_files(venv: Path) -> None:
    """Makes the ROS wheels' cmake files in <venv>/share usable on this machine."""
    python_include = sysconfig.get_path("include")
    probe = "import numpy; print(numpy.get_include())"
    numpy_include = run_quietly([venv / "bin/python", "-c", probe]).strip()
    for path in (venv / "share").glob("*/cmake/*.cmake"):
        text = path.read_text()
        repaired = replace_builder_paths(text, python_include, numpy_include)
        if repaired != text:
            path.write_text(repaired)


def build_environment(venv: Path, use_distribution: bool) -> dict[str, str]:
    """Environment variables for cmake: the virtual environment first, and no ROS but the one in use."""
    env = dict(os.environ)
    env["PATH"] = f"{venv / 'bin'}{os.pathsep}{env['PATH']}"
    if not use_distribution:
        env.pop("CMAKE_PREFIX_PATH", None)
        env["AMENT_PREFIX_PATH"] = str(venv)
    return env


def build_interface_package(source: Path, venv: Path, use_distribution: bool) -> None:
    """Configures, builds and installs one interface package into the virtual environment.

    Its libraries go to <venv>/lib, which venv_bootstrap puts on the library path of every Python process.
    """
    build = venv / "build" / source.name
    shutil.rmtree(build, ignore_errors=True)
    env = build_environment(venv, use_distribution)
    version = sysconfig.get_python_version()
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_INSTALL_PREFIX": str(venv),
        "PYTHON_INSTALL_DIR": f"lib/python{version}/site-packages",
        "Python3_EXECUTABLE": str(venv / "bin/python"),
        "BUILD_TESTING": "OFF",
    }
    if not use_distribution:
        options["CMAKE_PREFIX_PATH"] = str(venv)
    definitions = [f"-D{name}={value}" for name, value in options.items()]
    run_quietly(["cmake", "-S", source, "-B", build, *definitions], env)
    run_quietly(["cmake", "--build", build, "--parallel", str(os.cpu_count() or 1)], env)
    run_quietly(["cmake", "--install", build], env)
