"""The log of a training: what a person watches, and what a plot is made from."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import UserError, plain_reason
from .losses import LossTerms

LOG = "log.csv"

TERMS = {
    "loss": "total",
    "focal": "focal",
    "dice": "dice",
    "entropy": "entropy",
    "answers": "answers",
    "features": "features",
}
"""Column of the log -> field of LossTerms."""


@dataclass
class TrainingLog:
    """A TrainingLog writes losses and validations as CSV, and for TensorBoard where it is installed.

    Attributes:
        folder: of the training.
        resumed_at: the step that the training goes on from; later rows of an older log are dropped.
        average: of the recent losses.
    """

    folder: Path
    resumed_at: int
    average: float = field(default=math.nan, init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._steps = CsvTable(self.folder / LOG, ("step", *TERMS, "learning_rate", "seconds"), self.resumed_at)
        columns = ("step", "source", "structure", "dice")
        self._validations = CsvTable(self.folder / "validation.csv", columns, self.resumed_at)
        try:
            from torch.utils.tensorboard import SummaryWriter

            self._board: Any = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.resumed_at)
        except ImportError:
            self._board = None

    def step(self, step: int, terms: LossTerms, rate: float, seconds: float) -> None:
        """One step's loss terms, learning rate and seconds since the start."""
        values = {name: float(getattr(terms, field)) for name, field in TERMS.items()}
        self.average = values["loss"] if math.isnan(self.average) else 0.98 * self.average + 0.02 * values["loss"]
        numbers = [f"{v:.5g}" for v in (*values.values(), rate)]
        self._steps.row([step, *numbers, f"{seconds:.1f}"])
        if self._board and step % 10 == 0:
            for name, value in values.items():
                self._board.add_scalar(f"training/{name}", value, step)

    def validation(self, step: int, summary: dict[str, Any]) -> None:
        """One validation, as `evaluation.summarize` answers."""
        for row in summary["structures"]:
            found = "" if row["dice"] is None else f"{row['dice']:.4f}"  # in no case, neither drawn nor answered
            self._validations.row([step, row["source"], row["structure"], found])
        for source, row in summary["sources"].items():
            self._validations.row([step, source, "mean", f"{row['dice']:.4f}"])
            if self._board:
                self._board.add_scalar(f"validation/{source}", row["dice"], step)

    def close(self) -> None:
        """Close all files."""
        self._steps.close()
        self._validations.close()
        if self._board:
            self._board.close()


class CsvTable:
    """A CsvTable is a file that goes on after a resume, without the rows of steps that will be done again.

    Raises:
        UserError: a row cannot be written.
    """

    def __init__(self, path: Path, columns: Sequence[str], resumed_at: int):
        kept: list[list[str]] = []
        if path.exists() and resumed_at:
            # After a power cut a file may end in anything.
            lines = path.read_text(encoding="utf-8", errors="replace").replace("\0", "").splitlines()
            rows = [row for row in csv.reader(lines) if len(row) == len(columns) and row[0].isdecimal()]
            kept = [row for row in rows if int(row[0]) <= resumed_at]
        self._path = path
        with self._written():
            self._file = open(path, "w", newline="", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed by close()
            self._writer = csv.writer(self._file)
            self._writer.writerow(columns)
            self._writer.writerows(kept)

    def row(self, values: Sequence[Any]) -> None:
        """Append a row."""
        with self._written():
            self._writer.writerow(values)

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # every row was written at once; one that could not be was told of
            self._file.close()

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"The log {self._path} cannot be written ({plain_reason(error)}): free some space; the same training "
                "goes on from its checkpoint."
            ) from error
