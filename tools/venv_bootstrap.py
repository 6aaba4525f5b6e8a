"""Runs at the start of every Python process of the virtual environment (a .pth file imports it).

ROS 2 loads its libraries by name, and the loader reads LD_LIBRARY_PATH only when a process starts. So a
Python that starts without the environment's libraries on that path starts itself again with them, under the
same process id. The check is for the folders themselves, not for a marker variable: a child process with a
cleared or foreign path works. AMENT_PREFIX_PATH makes the packages of the environment known to
ament_index_python.
"""

import os
import sys
from pathlib import Path

RESTARTED = "_IUP_POSE_VENV_RESTARTED"  # process id of the last Python that restarted itself


def library_folders(prefix: str) -> list[str]:
    """Folders with shared libraries of ROS packages: <prefix>/lib and those the wheels bring along."""
    site_packages = Path(__file__).parent
    return [f"{prefix}/lib", *sorted(str(folder) for folder in site_packages.glob("ros_*.libs"))]


def with_missing_in_front(value: str, folders: list[str]) -> str:
    """A path variable with the folders that it lacks put in front; the value itself when it lacks none."""
    present = value.split(os.pathsep) if value else []
    return os.pathsep.join([folder for folder in folders if folder not in present] + present)


def bootstrap(prefix: str) -> None:
    """Completes the process's environment; restarts the interpreter when its library path was incomplete."""
    ament_path = os.environ.get("AMENT_PREFIX_PATH", "")
    os.environ["AMENT_PREFIX_PATH"] = with_missing_in_front(ament_path, [prefix])
    # The wheels' own restart is not needed, and its marker hides an incomplete path from child processes.
    os.environ["_ROS_WHEELS_BOOTSTRAP_COMPLETE"] = "1"
    library_path = os.environ.get("LD_LIBRARY_PATH", "")
    complete = with_missing_in_front(library_path, library_folders(prefix))
    # Where the system strips the path from privileged programs, it would restart for ever: once must do.
    restarted = os.environ.get(RESTARTED) == str(os.getpid())
    if complete != library_path and not restarted:
        os.environ.update({"LD_LIBRARY_PATH": complete, RESTARTED: str(os.getpid())})
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


bootstrap(sys.prefix)
