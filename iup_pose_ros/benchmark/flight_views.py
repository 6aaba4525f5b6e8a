"""Images of the rendered demo flight at any resolution, the input of the benchmark."""

from __future__ import annotations

from functools import cache

import numpy as np

from iup_pose_ros.demo_scene.demo_recording import render_flight
from iup_pose_ros.demo_scene.flight import fly
from iup_pose_ros.demo_scene.room import build_room
from iup_pose_ros.demo_scene.threads import one_thread_per_operation
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.trajectory import Trajectory
from iup_pose_ros.types import Frame

RATE = 20.0  # images per second
_DURATION = 18.0  # seconds of the whole flight
_FOCAL_LENGTH = 0.65  # of the image width, as the camera of `make demo`
_AT_FULL_SPEED = 60  # first image: the camera rests at first, then accelerates
_build_room_once = cache(build_room)


def flight_views(width: int, height: int, count: int) -> list[Frame]:
    """Render successive images of the flight at full speed; at most 300, stamps start at 0.

    Args:
        width, height: size in pixels.
        count: number of images.
    """
    flight = fly(_DURATION, RATE)
    part = slice(_AT_FULL_SPEED, _AT_FULL_SPEED + count)
    shown = Trajectory(flight.stamps[part], flight.rotations[part], flight.positions[part])
    focal = _FOCAL_LENGTH * width
    camera = Intrinsics(focal, focal, 0.5 * (width - 1), 0.5 * (height - 1), width, height)
    with one_thread_per_operation():
        images = list(render_flight(_build_room_once(seed=0), shown, camera, seed=0))
    stamps = np.arange(len(images)) / RATE
    return [
        Frame(image, camera, stamp, "camera") for image, stamp in zip(images, stamps.tolist(), strict=True)
    ]
