"""The tool that records the demo flight with a camera of any resolution."""

from __future__ import annotations

import numpy as np
import wide_flight

from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.trajectory_io import read_tum


def test_images_have_the_size_and_the_stamps_of_the_ground_truth(tmp_path, monkeypatch):
    folder = tmp_path / "flight"
    monkeypatch.setattr("sys.argv", ["wide_flight", str(folder), "--width", "128", "--images", "2"])
    wide_flight.main()
    truth = read_tum(folder / "groundtruth.tum")
    with BagReader(folder / "bag") as reader:
        frames = list(reader.frames())
    assert [frame.image.shape for frame in frames] == [(72, 128, 3)] * 2
    assert np.allclose([frame.stamp for frame in frames], truth.stamps, atol=1e-6)
    assert np.linalg.norm(truth.positions[1] - truth.positions[0]) > 0.01
