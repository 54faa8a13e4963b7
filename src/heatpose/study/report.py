"""The report of a study: a table as text, CSV and JSON, and one HTML page."""

import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

import numpy as np
import torch

import heatpose
from heatpose.create.plan import duration
from heatpose.data.fields import write_json
from heatpose.evaluate.intervals import Interval
from heatpose.files import write_whole
from heatpose.study.plots import COLOURS, Dots, dots, lines
from heatpose.study.results import JUDGED, Cell, RowResult, StudyResults
from heatpose.study.rows import StudyOptions, TestSet
from heatpose.study.run import SCORES

PLOTTED = ("add_s_0.1d", "ar_mspd")


def write_results(
    place: Path, found: StudyResults, options: StudyOptions, command: Sequence[str]
) -> Path:
    """Write ``table.csv``, ``table.json`` and ``report.html``, each whole, and return the page.

    Args:
        place: folder of the study.
        found: what it has found.
        options: what its rows have in common.
        command: that does it again, as words.
    """
    write_json(place / "table.json", found.as_record())
    for name, text in (
        ("table.csv", found.as_csv()),
        ("table.txt", as_text(found) + "\n"),
        ("report.html", as_page(found, options, command)),
    ):
        with write_whole(place / name) as part:
            part.write_text(text, encoding="utf-8")
    return place / "report.html"


def as_text(found: StudyResults) -> str:
    """Return the tables, percent, and what they say of claims, for a screen."""
    blocks = []
    for name, (targets, images) in found.datasets.items():
        steps = ["step"] if found.study.is_ladder else []
        head = ["", *SCORES.values(), "gain", *steps]
        table = [head] + [
            [one.row.name]
            + [_mean(one.cells[name][key]) for key in SCORES]
            + [_gain(one.cells[name][JUDGED].gain)]
            + [_gain(one.cells[name][JUDGED].step) for _ in steps]
            for one in found.rows
        ]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        rows = [
            "  ".join(
                word.ljust(width) if i == 0 else word.rjust(width)
                for i, (word, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in table
        ]
        blocks.append("\n".join([f"{name}: {targets} targets in {images} images, %", *rows]))
    claims = [
        f"{one.claim.text}, {one.dataset}: {one.verdict} ({_gain(one.gain)}; {one.reason})"
        for one in found.judgements
    ]
    return "\n\n".join([*blocks, *(["\n".join(claims)] if claims else [])])


def _mean(cell: Cell) -> str:
    """Return mean and spread, percent."""
    spread = "" if cell.spread is None else f" ± {100 * cell.spread:.1f}"
    return f"{100 * cell.mean:.1f}{spread}"


def _gain(gain: Interval | None) -> str:
    """Return a difference and its range, points."""
    if gain is None:
        return ""
    low, high = _signed(gain.low), _signed(gain.high)
    return f"{_signed(gain.mean)} [{low}, {high}]"


def _signed(value: float) -> str:
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "\u2212")


def as_page(found: StudyResults, options: StudyOptions, command: Sequence[str]) -> str:
    """Return the HTML page; it needs nothing beside it."""
    template = Template(Path(__file__).with_name("report.html").read_text("utf-8"))
    return template.substitute(
        name=escape(found.study.name),
        question=escape(found.study.question),
        short="\n".join(f"<p>{escape(text)}</p>" for text in _in_short(found)),
        claims=_claims(found),
        tables="\n".join(_table(found, name) for name in found.datasets),
        plots="\n".join(_plots(found)),
        facts=_facts(found, options),
        notes=escape(found.study.notes),
        command=escape(shlex.join(command)),
    )


def _in_short(found: StudyResults) -> list[str]:
    """Say in sentences what the tables show."""
    texts = []
    first = found.rows[0]
    for name in found.datasets:
        best = max(found.rows, key=lambda one: one.cells[name][JUDGED].mean)
        reached = f"{100 * best.cells[name][JUDGED].mean:.1f} %"
        text = f"{name}: the best row by {SCORES[JUDGED]} is {best.row.name} with {reached}"
        if best is not first:
            text += f", {first.row.name} reaches {100 * first.cells[name][JUDGED].mean:.1f} %"
        texts.append(text + ". " + _beyond_chance(found.rows[1:], name, first.row.name))
    return texts


def _beyond_chance(rows: Sequence[RowResult], name: str, first: str) -> str:
    gains = {one.row.name: one.cells[name][JUDGED].gain for one in rows}
    better = [row for row, gain in gains.items() if gain is not None and gain.low > 0]
    worse = [row for row, gain in gains.items() if gain is not None and gain.high < 0]
    parts = []
    if better:
        parts.append(f"better than {first} beyond chance: {', '.join(better)}")
    if worse:
        parts.append(f"worse beyond chance: {', '.join(worse)}")
    if not parts:
        return f"No row differs from {first} by more than chance."
    text = "; ".join(parts) + "."
    return text[0].upper() + text[1:]


def _claims(found: StudyResults) -> str:
    """Return what the study says of each claim, as a list."""
    if not found.judgements:
        return ""
    items = "\n".join(
        f'<li><span class="mark {one.verdict.split()[0]}">{one.verdict}</span> '
        f"<b>{escape(one.claim.text)}</b> "
        f'<span class="soft">{escape(one.dataset)}</span><br>'
        f"{escape(one.claim.better)} over {escape(one.claim.than)}: {_gain(one.gain)} points of "
        f"{SCORES[JUDGED]}, {100 * one.claim.gain:g} claimed; {escape(one.reason)}.</li>"
        for one in found.judgements
    )
    return (
        "<h2>What the founding paper claims</h2>\n"
        f'<ul class="claims">{items}</ul>\n'
        '<p class="soft">The paper measured on LINEMOD, with real training images and one seed; '
        "here the same change is made with this study's data and budget. A claim holds where the "
        "range of the gain lies above zero; it does not where the range ends below what is "
        "claimed, or below zero; else it cannot be told.</p>"
    )


def _table(found: StudyResults, name: str) -> str:
    """Return the table of one data set."""
    targets, images = found.datasets[name]
    steps = ["over the row above"] if found.study.is_ladder else []
    heads = ["row", *SCORES.values(), f"gain, {SCORES[JUDGED]}", *steps, "training"]
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    best = {key: max(one.cells[name][key].mean for one in found.rows) for key in SCORES}
    body = "\n".join(_table_row(one, name, best, bool(steps)) for one in found.rows)
    return (
        f"<h3>{escape(name)} <small>{targets} targets in {images} images, percent</small></h3>\n"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _table_row(one: RowResult, name: str, best: dict[str, float], with_step: bool) -> str:
    cells = [
        f"<td>{'<b>' if one.cells[name][key].mean == best[key] else ''}"
        f"{_spread_apart(one.cells[name][key])}"
        f"{'</b>' if one.cells[name][key].mean == best[key] else ''}</td>"
        for key in SCORES
    ]
    judged = one.cells[name][JUDGED]
    gains = [judged.gain, judged.step] if with_step else [judged.gain]
    cells += [f'<td class="{_kind(gain)}">{_gain(gain)}</td>' for gain in gains]
    return (
        f"<tr><th>{escape(one.row.name)}<small>{escape(one.row.change)}</small></th>"
        f"{''.join(cells)}<td>{duration(one.seconds)}</td></tr>"
    )


def _kind(gain: Interval | None) -> str:
    """Return the class of a gain: whether it is one by more than chance."""
    if gain is None or gain.low <= 0 <= gain.high:
        return ""
    return "up" if gain.low > 0 else "down"


def _spread_apart(cell: Cell) -> str:
    mean, _, spread = _mean(cell).partition(" ± ")
    return mean + (f" <small>± {spread}</small>" if spread else "")


def _plots(found: StudyResults) -> list[str]:
    """Return all plots as figures."""
    figures = []
    numbered = all(one.row.line for one in found.rows)
    for name in found.datasets:
        if numbered:
            title = f"{SCORES[JUDGED]} over the number of keypoints, {name}, %"
            figures.append(_figure(title, _over_numbers(found, name, JUDGED)))
        for key in (JUDGED,) if numbered else PLOTTED:
            title = f"{SCORES[key]}, {name}, %"
            figures.append(_figure(title, dots(title, _dots(found, name, key))))
    curves = _learning(found)
    if 1 < len(curves) <= COLOURS:
        title = "keypoints of unseen samples, px off in the median"
        drawn = lines(title, curves, across="training samples", percent=False)
        figures.append(_figure(title, drawn))
    return figures


def _figure(title: str, drawn: str) -> str:
    return f"<figure><figcaption>{escape(title)}</figcaption>{drawn}</figure>"


def _dots(found: StudyResults, name: str, key: str) -> list[Dots]:
    first = found.rows[0].cells[name][key].mean
    rows = []
    for one in found.rows:
        cell = one.cells[name][key]
        ends = (None, None) if cell.gain is None else (cell.gain.low, cell.gain.high)
        low, high = (None if end is None else first + end for end in ends)
        rows.append(Dots(one.row.name, cell.mean, cell.seeds, low, high))
    return rows


def _over_numbers(found: StudyResults, name: str, key: str) -> str:
    """Draw a score over a number that rows have, a line for each kind of row."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for one in found.rows:
        point = (one.row.at or 0.0, one.cells[name][key].mean)
        curves.setdefault(one.row.line, []).append(point)
    return lines(f"{SCORES[key]}, {name}", curves, across="keypoints", percent=True, log=True)


def _learning(found: StudyResults) -> dict[str, list[tuple[float, float]]]:
    """Return how far keypoints were off after so many samples, in the mean over seeds."""
    curves: dict[str, list[tuple[float, float]]] = {}
    drawn = set()
    for one in found.rows:
        if one.row.training_id not in drawn:
            drawn.add(one.row.training_id)
            mean = np.mean([np.array(curve) for curve in one.curves], axis=0)
            curves[one.row.name] = [(float(x), float(y)) for x, y in mean]
    return curves


def _facts(found: StudyResults, options: StudyOptions) -> str:
    """Return what was done, as a list of terms."""
    train = found.study.rows[0].train
    facts = {
        "budget": f"{train.steps * train.batch_size} samples a training, the same for all rows, "
        f"rendered from the models in {options.objects.parent.name}/{options.objects.name}",
        "seeds": f"{found.n_seeds}: of weights, samples and their order; the same for all rows",
        "crops": f"{options.crop_size} px",
        "training": f"batches of {options.batch_size}, learning rate {options.learning_rate:g}, "
        + _start(options),
        "views": f"{100 * options.upright:g} % upright, "
        f"{100 * options.hidden:g} % with an object in front",
        "backgrounds": "photographs" if options.backgrounds else "generated",
        "tried on": "; ".join(map(_tried, options.datasets)),
        "poses": "one look at each box, no candidates, outlines only where a row says so",
        "machine": "; ".join(found.machines),
        "time": f"{duration(found.seconds)} of training in all, without drawing samples",
        "with": f"heatpose {heatpose.__version__}, torch {torch.__version__}",
    }
    return "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())


def _start(options: StudyOptions) -> str:
    if options.init:
        return f"trunk and decoder from {options.init.name}, output weights from scratch"
    if options.backbone:
        return f"trunk from {options.backbone.name}"
    return "from scratch"


def _tried(one: TestSet) -> str:
    boxes = f"boxes of {one.boxes.name}" if one.boxes else "true boxes of what is seen"
    return f"{one.name}, split {one.split}, {boxes}"
