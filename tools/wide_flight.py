"""Record a part of the demo flight with a camera of any resolution: a rosbag2 folder and its ground truth.

For the accuracy on large images, whose tracks and corners are found at ``maximum_image_width``:

    python tools/wide_flight.py wide_flight
    iup-pose evaluate bag wide_flight/bag --gt wide_flight/groundtruth.tum --params-file PARAMETERS.yaml
"""

from __future__ import annotations

import argparse
from pathlib import Path

from iup_pose_ros.atomic import atomic_directory
from iup_pose_ros.demo_scene.demo_recording import record_flight
from iup_pose_ros.demo_scene.flight import fly
from iup_pose_ros.demo_scene.threads import one_thread_per_operation
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.trajectory import Trajectory

DURATION = 18.0  # seconds of the whole flight
FIRST = 3.0  # seconds; the camera rests at first, then accelerates


def main() -> None:
    """Render and record the flight at full speed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder to write; it must not exist")
    parser.add_argument("--width", type=int, default=1920, help="pixels; the height is 9/16 of it")
    parser.add_argument("--rate", type=float, default=10.0, help="images per second")
    parser.add_argument("--images", type=int, default=60, help="number of images, 2 s of rendering each")
    parsed = parser.parse_args()
    width, height = parsed.width, parsed.width * 9 // 16
    camera = Intrinsics(0.65 * width, 0.65 * width, 0.5 * (width - 1), 0.5 * (height - 1), width, height)
    flight = fly(DURATION, parsed.rate)
    part = slice(round(FIRST * parsed.rate), round(FIRST * parsed.rate) + parsed.images)
    shown = Trajectory(flight.stamps[part], flight.rotations[part], flight.positions[part])
    with atomic_directory(parsed.folder, "recording") as folder, one_thread_per_operation():
        record_flight(folder, shown, camera, seed=0)


if __name__ == "__main__":
    main()
