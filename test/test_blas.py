from __future__ import annotations

import os
import subprocess
import sys

import pytest

PRINT = "import os; print(os.environ['OPENBLAS_NUM_THREADS'], 'numpy' in __import__('sys').modules)"


@pytest.mark.parametrize(("given", "used"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3")])
def test_the_command_line_sets_the_threads_of_blas_before_numpy_is_imported(
    given: dict[str, str], used: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    command = [sys.executable, "-c", f"import iup_pose_ros.cli; {PRINT}"]
    found = subprocess.run(command, env={**environment, **given}, capture_output=True, text=True, check=True)
    assert found.stdout.split() == [used, "False"]


def test_the_node_sets_the_threads_of_blas_before_numpy_is_imported() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    # The node's module is not there, so that main stops where it would import NumPy.
    stop = "import sys; sys.modules['iup_pose_ros.node.lifecycle_node'] = None"
    program = (
        f"{stop}\nfrom iup_pose_ros.node import vo_node\ntry: vo_node.main([])\nexcept ImportError: {PRINT}"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["1", "False"]
