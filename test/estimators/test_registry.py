from __future__ import annotations

import pytest

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.estimators.registry import create_estimator, estimator_names


@pytest.mark.parametrize("name", ["epipolar_klt", "epipolar_sift"])
def test_estimators_are_created_by_the_name_they_carry(name: str):
    assert name in estimator_names()
    assert create_estimator(name).name == name


def test_an_unknown_estimator_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigurationError, match="'epipolar_kltt'; did you mean 'epipolar_klt'"):
        create_estimator("epipolar_kltt")
