"""What a run tells: tables (CSV) that a resumed run continues, and TensorBoard where it is installed."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from iup_pose_ros.atomic import atomic_file


class Table:
    """A CSV file whose first column is the step; every row is on the disk as soon as it is written.

    Args:
        path: of the file; created, or continued.
        columns: names, ``step`` first.
        step: where the run goes on; rows of later steps are dropped, because they come again.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], step: int) -> None:
        self._path = path
        kept = _rows(path, step, columns) if path.is_file() else []
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns, *kept])
        with atomic_file(path) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8", newline="", buffering=1)
        self._writer = csv.DictWriter(self._file, columns, lineterminator="\n")

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row with a value for every column."""
        self._writer.writerow({name: _short(value) for name, value in row.items()})

    def rows(self) -> list[dict[str, str]]:
        """Return all rows, as text by column."""
        with self._path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RunLog:
    """Tables and TensorBoard of a run.

    Args:
        folder: of the run.
        step: where it goes on.
        tensorboard: whether to write for TensorBoard where it is installed.
    """

    STEP_COLUMNS = (
        "step",
        "loss",
        "pose",
        "correspondence",
        "refinement",
        "rotation_deg",
        "direction_deg",
        "likelihood",
        "learning_rate",
        "gradient_norm",
        "pairs",
    )
    EVALUATION_COLUMNS = (
        "step",
        "pairs_seen",
        "split",
        "set",
        "pairs",
        "rotation_deg",
        "direction_deg",
        "auc_5",
        "auc_10",
        "auc_20",
        "rotation_in_1_sigma",
        "direction_in_1_sigma",
    )

    def __init__(self, folder: Path, step: int, tensorboard: bool) -> None:
        self._steps = Table(folder / "log.csv", self.STEP_COLUMNS, step)
        self._evaluations = Table(folder / "evaluation.csv", self.EVALUATION_COLUMNS, step)
        self._board = _summary_writer(folder, step) if tensorboard else None

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._steps.close()
        self._evaluations.close()
        if self._board is not None:
            self._board.close()

    def add_step(self, row: Mapping[str, Any]) -> None:
        """A value for each of ``STEP_COLUMNS``."""
        self._steps.add(row)
        self._to_board("train", row)

    def add_evaluation(self, row: Mapping[str, Any]) -> None:
        """A value for each of ``EVALUATION_COLUMNS``."""
        self._evaluations.add(row)
        self._to_board(f"evaluation/{row['split']}/{row['set']}", row)

    def evaluations(self) -> list[dict[str, str]]:
        """Return the rows of the evaluation's table so far."""
        return self._evaluations.rows()

    def _to_board(self, prefix: str, row: Mapping[str, Any]) -> None:
        if self._board is None:
            return
        for name, value in row.items():
            if name not in ("step", "pairs_seen", "split", "set", "pairs"):
                self._board.add_scalar(f"{prefix}/{name}", value, row["step"])


def _summary_writer(folder: Path, step: int) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(folder / "tensorboard", purge_step=step + 1)


def _rows(path: Path, step: int, columns: tuple[str, ...]) -> list[list[str]]:
    """The whole rows of steps up to ``step``; the last may have been cut off when the run died."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return [row for row in rows if len(row) == len(columns) and row[0].isdigit() and int(row[0]) <= step]


def _short(value: Any) -> Any:
    return f"{value:.7g}" if isinstance(value, float) else value
