from __future__ import annotations

from collections.abc import Iterator

import pytest

from iup_pose_ros.demo_scene.planes import PlaneScene
from iup_pose_ros.demo_scene.room import build_room
from iup_pose_ros.demo_scene.threads import one_thread_per_operation


@pytest.fixture(autouse=True, scope="module")
def _one_thread_per_operation() -> Iterator[None]:
    with one_thread_per_operation():
        yield


@pytest.fixture(scope="session")
def room() -> PlaneScene:
    """Build the demo room once for all tests."""
    return build_room()
