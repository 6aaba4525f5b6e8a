"""`iup-pose bench`: which rows it measures, and which options it refuses."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from iup_pose_ros.benchmark.flight_views import flight_views
from iup_pose_ros.benchmark.run_benchmark import BenchmarkOptions, describe_machine, run_benchmark
from iup_pose_ros.benchmark.stages import ASKED, Repeats
from iup_pose_ros.cli import app
from iup_pose_ros.errors import ConfigurationError


def measured(**options):
    """Rows of a benchmark of one small image size and one call."""
    return list(run_benchmark(BenchmarkOptions(sizes=[(96, 64)], repeats=Repeats(1, 0), **options)))


def test_network_is_measured_per_batch_size_and_pairs_one_by_one():
    rows = measured(parts=["network"], batches=[1, 2])
    assert {row.part for row in rows} == {"network"}
    assert [(row.name, row.conditions.batch) for row in rows] == [
        ("encode", 1),
        ("match", 1),
        ("pair", 1),
        ("encode", 2),
        ("match", 2),
    ]


def test_hybrid_is_also_measured_with_the_network_asked():
    rows = measured(parts=["estimators", "odometry"], estimators=["hybrid"])
    assert [(row.part, row.name) for row in rows] == [
        ("estimators", "hybrid"),
        ("estimators", ASKED),
        ("odometry", "hybrid"),
    ]
    assert all(len(row.samples.milliseconds) == 1 for row in rows)


def test_odometry_is_measured_with_every_number_of_tracks():
    rows = measured(parts=["odometry"], estimators=["epipolar_klt"], tracks=[400, 100])
    assert [row.name for row in rows] == ["epipolar_klt", "epipolar_klt, 100 tracks"]
    assert [row.timed.rpartition("; ")[2] for row in rows] == ["at most 400 tracks", "at most 100 tracks"]


@pytest.mark.dds
def test_node_is_measured_from_its_start_and_from_image_to_state():
    """The node runs as a process of its own, and its messages go over DDS."""
    options = BenchmarkOptions(["node"], ["epipolar_klt"], [(320, 240)], repeats=Repeats(4, 2))
    start, images = run_benchmark(options)
    assert [(row.part, row.name) for row in (start, images)] == [
        ("node", "start, epipolar_klt"),
        ("node", "epipolar_klt"),
    ]
    assert len(start.samples.milliseconds) == 3
    # Not every image is answered on a busy machine, but none of the warm-up is counted.
    assert 1 <= len(images.samples.milliseconds) <= options.repeats.images - options.repeats.warm_up
    assert min(*start.samples.milliseconds, *images.samples.milliseconds) > 0.0
    assert start.samples.megabytes > 10.0
    assert images.conditions == replace(start.conditions, device="cpu", precision="-", threads=0)


def test_precision_of_estimators_without_network_is_none():
    rows = measured(parts=["estimators"], estimators=["epipolar_klt"], threads=[1, 2])
    assert [(row.conditions.threads, row.conditions.precision) for row in rows] == [(1, "-"), (2, "-")]


def test_views_move_and_have_the_size():
    first, second = flight_views(96, 64, 2)
    assert first.image.shape == second.image.shape == (64, 96, 3)
    assert (first.image != second.image).mean() > 0.1
    assert second.stamp - first.stamp == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"parts": ["gpu"]}, "unknown part 'gpu'; accepted: network, estimators, odometry, node"),
        ({"threads": [0]}, "threads is 0"),
        ({"tracks": [10]}, "maximum_tracks is 10"),
        ({"batches": [-1]}, "batches is -1"),
        ({"sizes": [(10, 480)]}, "64 to 8192"),
        ({"repeats": Repeats(1000, 0)}, "the demo flight has 300"),
    ],
)
def test_options_out_of_range_are_refused(changed, message):
    with pytest.raises(ConfigurationError, match=message):
        BenchmarkOptions(**changed)


def test_machine_is_described():
    machine = describe_machine()
    assert machine["processor"]
    assert machine["cores"] >= 1
    assert "torch" in machine["versions"]


def test_command_writes_json(tmp_path):
    file = tmp_path / "bench.json"
    arguments = ["--parts", "odometry", "--estimator", "epipolar_klt", "--sizes", "96x64", "--repeats", "2"]
    result = CliRunner().invoke(app, ["bench", *arguments, "--json", str(file)])
    assert result.exit_code == 0, result.output
    (row,) = json.loads(file.read_text())["measurements"]
    assert (row["part"], row["name"], row["repeats"]) == ("odometry", "epipolar_klt", 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "640"], "--sizes: '' is not an integer"),
        (["--threads", "many"], "--threads: 'many' is not an integer"),
        (["--plot", "x.png"], "--accuracy and --plot"),
    ],
)
def test_command_refuses(arguments, message):
    result = CliRunner().invoke(app, ["bench", *arguments])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
