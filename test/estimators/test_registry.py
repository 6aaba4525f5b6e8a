from __future__ import annotations

import subprocess
import sys

import pytest

from iup_pose_ros.errors import CheckpointError, ConfigurationError
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.estimators.registry import create_estimator, estimator_names


@pytest.mark.parametrize("name", ["epipolar_klt", "epipolar_sift"])
def test_estimators_are_created_by_the_name_they_carry(name: str):
    assert name in estimator_names()
    assert create_estimator(name).name == name


def test_an_unknown_estimator_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigurationError, match="'epipolar_kltt'; did you mean 'epipolar_klt'"):
        create_estimator("epipolar_kltt")


def test_classical_estimators_start_without_torch():
    script = (
        "import sys; from iup_pose_ros.estimators.registry import create_estimator; "
        "create_estimator('epipolar_klt'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("name", ["iup_pose", "hybrid"])
def test_missing_weights_are_named(name: str, tmp_path):
    assert name in estimator_names()
    with pytest.raises(CheckpointError, match=r"there is no weights file .*none\.safetensors"):
        create_estimator(name, NetworkOptions(tmp_path / "none.safetensors"))
