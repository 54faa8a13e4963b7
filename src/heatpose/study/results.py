"""What a study has found: means, spreads over seeds, intervals, and what they say of claims."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from heatpose.data.fields import read_json
from heatpose.errors import DataError
from heatpose.evaluate.intervals import Interval, crossed_interval
from heatpose.geometry.arrays import Array
from heatpose.study.rows import Claim, Row, Study
from heatpose.study.run import SCORES, scores_file

JUDGED = "add_s_0.1d"  # what claims are about
TOO_LOW = 0.05  # of it, in both rows: nothing is learned yet, so nothing can be compared

Verdict: TypeAlias = Literal["holds", "does not hold", "cannot be told"]


@dataclass(frozen=True)
class Cell:
    """One score of a row on one data set."""

    mean: float  # over seeds and targets
    seeds: tuple[float, ...]  # of each seed
    gain: Interval | None  # over the first row; None for that row itself
    step: Interval | None = None  # over the row above, in a ladder

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; None of one seed."""
        return float(np.std(self.seeds, ddof=1)) if len(self.seeds) > 1 else None


@dataclass(frozen=True)
class RowResult:
    """What became of a row."""

    row: Row
    cells: Mapping[str, Mapping[str, Cell]]  # by data set and key of `SCORES`
    curves: Sequence[Sequence[tuple[float, float]]]  # of each seed: samples, px keypoints are off
    seconds: float  # a training took, in the mean


@dataclass(frozen=True)
class Judgement:
    """What a study says of a claim, on one data set."""

    claim: Claim
    dataset: str
    gain: Interval
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class StudyResults:
    """All that a study has found."""

    study: Study
    n_seeds: int
    datasets: Mapping[str, tuple[int, int]]  # by name: targets and images
    rows: Sequence[RowResult]
    judgements: Sequence[Judgement]
    machines: Sequence[str]
    seconds: float  # of all trainings

    def as_record(self) -> dict[str, Any]:
        """Return the table and what it says as plain data; fractions from 0 to 1."""
        return {
            "study": self.study.name,
            "seeds": self.n_seeds,
            "machines": list(self.machines),
            "training_seconds": self.seconds,
            "datasets": {
                name: {"targets": n, "images": m} for name, (n, m) in self.datasets.items()
            },
            "rows": {
                one.row.name: {
                    "change": one.row.change,
                    "training_seconds": one.seconds,
                    "scores": {
                        name: {
                            key: {**asdict(cell), "spread": cell.spread}
                            for key, cell in cells.items()
                        }
                        for name, cells in one.cells.items()
                    },
                }
                for one in self.rows
            },
            "claims": [
                {
                    "claim": one.claim.text,
                    "rows": [one.claim.better, one.claim.than],
                    "claimed": one.claim.gain,
                    "dataset": one.dataset,
                    "gain": asdict(one.gain),
                    "verdict": one.verdict,
                    "reason": one.reason,
                }
                for one in self.judgements
            ],
        }

    def as_csv(self) -> str:
        """Return the table with a line for each row, data set and score; fractions."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        head = ["row", "dataset", "score", "mean", "spread", "gain", "low", "high"]
        writer.writerow([*head, "step", "step_low", "step_high"])
        for one in self.rows:
            for name, cells in one.cells.items():
                for key, cell in cells.items():
                    numbers = [cell.mean, cell.spread]
                    for found in (cell.gain, cell.step):
                        numbers += [found.mean, found.low, found.high] if found else [None] * 3
                    writer.writerow([one.row.name, name, key, *map(_number, numbers)])
        return out.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}"


def read_results(place: Path, study: Study, seeds: int) -> StudyResults:
    """Read what the runs of a study have left.

    Raises:
        DataError: a run is missing or damaged.
    """
    runs = {row.name: [_read_run(place, row, seed) for seed in range(seeds)] for row in study.rows}
    try:
        return _results(study, seeds, runs, place)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"a scores.json in {place / 'runs'} is damaged: {error}") from None


def _read_run(place: Path, row: Row, seed: int) -> dict[str, Any]:
    path = scores_file(place, row, seed)
    if not path.exists():
        raise DataError(f"there is no run of {row.name!r} with seed {seed} in {place}")
    record: dict[str, Any] = read_json(path)
    return record


def _results(
    study: Study, seeds: int, runs: Mapping[str, list[dict[str, Any]]], place: Path
) -> StudyResults:
    first = runs[study.rows[0].name]
    tables = {name: _Tables(name, runs) for name in first[0]["datasets"]}
    rows = [
        RowResult(
            row,
            {name: table.cells(row, study) for name, table in tables.items()},
            [_curve(scores_file(place, row, seed).with_name("log.jsonl")) for seed in range(seeds)],
            float(np.mean([run["training"]["seconds"] for run in runs[row.name]])),
        )
        for row in study.rows
    ]
    trainings = {run["network"]: run["training"] for one in runs.values() for run in one}
    names = {row.name for row in study.rows}
    judgements = [
        table.judge(claim)
        for claim in study.claims
        if {claim.better, claim.than} <= names
        for table in tables.values()
    ]
    return StudyResults(
        study,
        seeds,
        {name: (len(table.images), table.n_images) for name, table in tables.items()},
        rows,
        judgements,
        sorted({one["machine"] for one in trainings.values()}),
        sum(one["seconds"] for one in trainings.values()),
    )


class _Tables:
    """The scores of all runs on one data set, as arrays."""

    def __init__(self, name: str, runs: Mapping[str, list[dict[str, Any]]]) -> None:
        found = {row: [run["datasets"][name] for run in seeds] for row, seeds in runs.items()}
        one = next(iter(found.values()))[0]
        self.name = name
        self.images = np.array(one["images"])
        self.n_images = len(np.unique(self.images, axis=0))
        for seeds in found.values():
            for run in seeds:
                if run["images"] != one["images"] or run["object_ids"] != one["object_ids"]:
                    raise ValueError(f"runs have different targets of {name}")
        self.values = {
            row: {key: np.array([run["scores"][key] for run in seeds], float) for key in SCORES}
            for row, seeds in found.items()
        }

    def gain(self, better: str, than: str, key: str) -> Interval:
        """Return how much better a row is, on the same targets and seeds."""
        difference: Array = self.values[better][key] - self.values[than][key]
        return crossed_interval(difference, self.images)

    def cells(self, row: Row, study: Study) -> dict[str, Cell]:
        """Return the scores of a row."""
        place = study.rows.index(row)
        first, above = study.rows[0].name, study.rows[max(place - 1, 0)].name
        return {
            key: Cell(
                float(values.mean()),
                tuple(values.mean(axis=1).tolist()),
                self.gain(row.name, first, key) if place else None,
                self.gain(row.name, above, key) if place and study.is_ladder else None,
            )
            for key, values in self.values[row.name].items()
        }

    def judge(self, claim: Claim) -> Judgement:
        """Say what the difference of two rows says of a claim."""
        gain = self.gain(claim.better, claim.than, JUDGED)
        reached = [float(self.values[one][JUDGED].mean()) for one in (claim.better, claim.than)]
        verdict, reason = judge(gain, claim.gain, max(reached))
        return Judgement(claim, self.name, gain, verdict, reason)


def judge(gain: Interval, claimed: float, reached: float) -> tuple[Verdict, str]:
    """Decide by an interval whether a claimed gain is there.

    Args:
        gain: what was measured.
        claimed: what is claimed.
        reached: the better score of the two.

    Returns:
        The verdict, and why.
    """
    if reached < TOO_LOW:
        return "cannot be told", (
            f"neither row gets beyond {100 * TOO_LOW:.0f} %: with this budget there is nothing to "
            "compare"
        )
    if gain.low > 0:
        if gain.high < claimed:
            return "holds", "there is a gain, smaller than claimed"
        more = ", larger than claimed" if gain.low > claimed else ""
        return "holds", f"there is a gain{more}"
    if gain.high < 0:
        return "does not hold", "it is a loss"
    if gain.high < claimed:
        return "does not hold", "a gain as large as claimed would have been seen"
    return "cannot be told", "no gain and the claimed one are both possible"


def _curve(log: Path) -> list[tuple[float, float]]:
    """Return how far keypoints of unseen samples were off, px, after so many samples."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [(line["samples"], line["unseen_median_px"]) for line in lines]
