"""The table of a run's evaluations, split by split, and when a run scores no more."""

from __future__ import annotations

import pytest
import torch

from iup_pose_ros.errors import DataError
from iup_pose_ros.model.config import PRESETS
from iup_pose_ros.model.iup_pose import IUPPose
from iup_pose_ros.training.periodic_evaluation import EvaluationScores, PeriodicEvaluation
from iup_pose_ros.training.run_config import EvaluationConfig


def rows(score: float) -> list[dict[str, object]]:
    """Of one set and of all splits; only the latter's AUCs count."""
    return [
        {"split": "pairs", "set": "one", "auc_5": 100.0, "auc_10": 100.0, "auc_20": 100.0},
        {"split": "all", "set": "mean", "auc_5": score - 10.0, "auc_10": score, "auc_20": score + 10.0},
    ]


def test_a_run_stalls_after_as_many_evaluations_without_gain_as_patience_allows():
    scores = EvaluationScores([], patience=3)
    assert not scores.stalled
    found = [(scores.add(rows(score)), scores.stalled) for score in (50.0, 52.0, 52.0, 51.0, 51.5, 53.0)]
    assert [best for best, _ in found] == [True, True, False, False, False, True]
    assert [stalled for _, stalled in found] == [False, False, False, False, True, False]


def test_what_a_table_on_disk_tells_counts_as_before():
    table = [row for score in (52.0, 51.0, 50.0) for row in rows(score)]
    text = [{name: str(value) for name, value in row.items()} for row in table]
    scores = EvaluationScores(text, patience=3)
    assert not scores.stalled
    assert not scores.add(rows(51.9))
    assert scores.stalled
    assert not EvaluationScores(text, patience=None).stalled
    assert not EvaluationScores([], patience=1).add([])


def test_every_set_its_split_and_all_splits_have_a_row(tmp_path, write_photographs):
    for split, name, pairs in (("near", "a", 1), ("near", "b", 2), ("far", "c", 1)):
        write_photographs(tmp_path / split / name, pairs)
    torch.manual_seed(0)
    network = IUPPose(PRESETS["small"])
    config = EvaluationConfig(folders=(tmp_path / "near", tmp_path / "far" / "c"), max_pairs=1)
    found = PeriodicEvaluation(config, tmp_path, "cpu").run(network, step=7, pairs_seen=56)
    names = [(row["split"], row["set"], row["pairs"]) for row in found]
    assert names == [
        ("near", "a", 1),
        ("near", "b", 1),
        ("near", "mean", 2),
        ("far", "c", 1),
        ("far", "mean", 1),
        ("all", "mean", 3),
    ]
    assert {(row["step"], row["pairs_seen"]) for row in found} == {(7, 56)}
    degrees = [row["rotation_deg"] for row in found]
    assert degrees[2] == pytest.approx(0.5 * (degrees[0] + degrees[1]))
    assert degrees[5] == pytest.approx(0.5 * (degrees[2] + degrees[4]))
    assert (tmp_path / "evaluation_000000007.json").is_file()


def test_folders_without_sets_and_sets_of_one_name_are_refused(tmp_path, write_photographs):
    with pytest.raises(DataError, match=r"have no pairs\.csv"):
        PeriodicEvaluation(EvaluationConfig(folders=(tmp_path,)), tmp_path, "cpu")
    for split in ("near", "far"):
        write_photographs(tmp_path / split / "a", 1)
    with pytest.raises(DataError, match=r"two sets.*named a"):
        PeriodicEvaluation(EvaluationConfig(folders=(tmp_path / "near", tmp_path / "far")), tmp_path, "cpu")
