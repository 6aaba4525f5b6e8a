from __future__ import annotations

from collections.abc import Iterator

import pytest

from iup_pose_ros.training.renderer import Renderer, RendererError


@pytest.fixture(scope="session")
def renderer() -> Iterator[Renderer]:
    try:
        yield Renderer()
    except RendererError as error:
        pytest.skip(str(error))
