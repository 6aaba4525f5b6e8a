"""Table and plot of the benchmark."""

import json

import cv2
import pytest
from rich.console import Console

from iup_pose_ros.benchmark.bench_report import print_table, to_json, write_accuracy_plot
from iup_pose_ros.benchmark.timing import Conditions, Measurement, Samples
from iup_pose_ros.errors import DataError

MACHINE = {"processor": "Some CPU", "cores": 2, "load_average": 0.25, "devices": {}, "versions": {}}


def row(part, name, milliseconds=10.0):
    samples = Samples([milliseconds], [0.5 * milliseconds], 123.0)
    return Measurement(part, name, f"what {name} includes", Conditions(640, 480), samples)


@pytest.fixture
def accuracy(tmp_path):
    file = tmp_path / "pairs.json"
    estimators = {name: {"mean": {"auc_unfolded": {"10": 55.0}}} for name in ("hybrid", "other")}
    file.write_text(json.dumps({"estimators": estimators}))
    return file


def test_table_names_machine_conditions_and_what_is_timed():
    console = Console(width=110, record=True, quiet=False)
    print_table([row("network", "encode"), row("node", "hybrid", 20.0)], MACHINE, console)
    text = console.export_text()
    for words in ("Some CPU, 2 cores", "640x480", "float32", "what encode includes", "20.0", "123"):
        assert words in text


def test_json_holds_machine_and_rows():
    document = to_json([row("network", "encode")], MACHINE)
    assert document["machine"]["processor"] == "Some CPU"
    assert [found["name"] for found in document["measurements"]] == ["encode"]
    json.dumps(document, allow_nan=False)


def test_plot_shows_estimators_that_are_in_both_files(accuracy, tmp_path):
    plot = tmp_path / "plot.png"
    write_accuracy_plot([row("estimators", "hybrid"), row("estimators", "unknown")], accuracy, plot)
    assert min(cv2.imread(str(plot)).shape[:2]) > 100


def test_plot_without_common_estimators_is_refused(accuracy, tmp_path):
    with pytest.raises(DataError, match="no estimator of hybrid, other was measured"):
        write_accuracy_plot([row("network", "hybrid")], accuracy, tmp_path / "plot.png")


@pytest.mark.parametrize("content", ["", "[]", '{"estimators": {"hybrid": {}}}'])
def test_other_files_are_refused_as_accuracy(content, tmp_path):
    file = tmp_path / "pairs.json"
    file.write_text(content)
    with pytest.raises(DataError, match="evaluate pairs --json"):
        write_accuracy_plot([row("estimators", "hybrid")], file, tmp_path / "plot.png")
