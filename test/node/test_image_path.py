"""The modules that an image passes from DDS to TF are those of docs/architecture.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from node_bench import Drive

HERE = Path(__file__).parent
ARCHITECTURE = HERE.parent.parent / "docs/architecture.md"


@pytest.mark.slow  # loads the network
def test_modules_from_an_image_to_tf_are_those_of_the_architecture(bench, start_node, tmp_path):
    trace = tmp_path / "trace.txt"
    start_node(
        parameters={"estimator": "hybrid", "assume_identity_mount": True},
        command=(str(HERE / "tracing_vo_node.py"), str(trace)),
    )
    bench.wait_for_nodes(1, timeout=300.0)
    drive = Drive(bench)
    for _ in range(14):
        bench.show(*drive.messages(), attempts=30)
    passed = [set(line.split()) for line in trace.read_text().splitlines()]
    # Only a keyframe has an edge. Those for which the network is asked pass more modules.
    at_keyframes = [found for found in passed if "odometry/state.py" in found]
    by_tracks = [found for found in at_keyframes if "model/encoder.py" not in found]
    assert by_tracks
    text = ARCHITECTURE.read_text(encoding="utf-8")
    section = text[text.index("## From an image to TF") : text.index("## Threads")]
    # A module is named by its path or, beside another one of its folder, by its file name.
    named = set(re.findall(r"`([a-z_0-9/]+\.py)`", section))
    assert [path for path in by_tracks[-1] if not {path, Path(path).name} & named] == []
    stated = re.search(
        r"passes (\d+) modules at a keyframe and (\d+) between keyframes", " ".join(section.split())
    )
    assert stated is not None
    between = max((found for found in passed if "odometry/state.py" not in found), key=len)
    assert (len(by_tracks[-1]), len(between)) == tuple(int(number) for number in stated.groups())
