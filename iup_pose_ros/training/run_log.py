"""Logs of a training run: CSV tables, continued when a run is resumed, and TensorBoard if installed."""

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
    """CSV file with the step as first column, flushed after every row.

    Args:
        path: file to create or continue.
        columns: names of the columns, ``step`` first.
        step: step at which the run is resumed; rows of later steps are removed.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], step: int) -> None:
        self._path = path
        rows: list[list[str]] = []
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file))
        # The last row may be incomplete if the run was killed.
        complete = [row for row in rows if len(row) == len(columns) and row[0].isdigit()]
        kept = [row for row in complete if int(row[0]) <= step]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns, *kept])
        with atomic_file(path) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8", newline="", buffering=1)
        self._writer = csv.DictWriter(self._file, columns, lineterminator="\n")

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row with a value for every column."""
        short = {name: f"{value:.7g}" if isinstance(value, float) else value for name, value in row.items()}
        self._writer.writerow(short)

    def rows(self) -> list[dict[str, str]]:
        """Return all rows, as text by column."""
        with self._path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RunLog:
    """CSV tables and TensorBoard logs of a run.

    Args:
        folder: folder of the run.
        step: step at which the run starts or is resumed.
        tensorboard: whether to write TensorBoard logs, if installed.
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
        self._board: Any = None
        if tensorboard and importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

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
        """Add a row with a value for each of ``STEP_COLUMNS``."""
        self._steps.add(row)
        self._to_board("train", row)

    def add_evaluation(self, row: Mapping[str, Any]) -> None:
        """Add a row with a value for each of ``EVALUATION_COLUMNS``."""
        self._evaluations.add(row)
        self._to_board(f"evaluation/{row['split']}/{row['set']}", row)

    def evaluations(self) -> list[dict[str, str]]:
        """Return the rows of the evaluation table so far."""
        return self._evaluations.rows()

    def _to_board(self, prefix: str, row: Mapping[str, Any]) -> None:
        if self._board is None:
            return
        for name, value in row.items():
            if name not in ("step", "pairs_seen", "split", "set", "pairs"):
                self._board.add_scalar(f"{prefix}/{name}", value, row["step"])
