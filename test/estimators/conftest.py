"""Rendered pairs with true matches for the tests of the hybrid estimator."""

from __future__ import annotations

import pytest
from hybrid_scenes import NO_MATCHES, rendered
from two_view_scenes import Scene

from iup_pose_ros.estimators.matching.features import SiftFrontEnd
from iup_pose_ros.types import Matches


@pytest.fixture
def without_sift(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SiftFrontEnd, "match", lambda *_: NO_MATCHES)


@pytest.fixture(scope="module")
def wide() -> tuple[Scene, Matches]:
    return rendered("wide", 7)


@pytest.fixture(scope="module")
def video() -> tuple[Scene, Matches]:
    return rendered("video", 4)
