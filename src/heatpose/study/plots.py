"""Plots of a study as SVG that stands in a page: no library, and the page's own colours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH = 480  # of the drawing's own units; the page scales it
LABELS = 128  # of it for the names of rows
LINE = 24  # height of a row
COLOURS = 8  # classes c0, c1, ... of the page


@dataclass(frozen=True)
class Dots:
    """One row of a plot: its mean, and a dot for each seed, in [0, 1]."""

    name: str
    mean: float
    seeds: Sequence[float]
    low: float | None = None  # where the mean lies, by its gain over the first row
    high: float | None = None


def dots(title: str, rows: Sequence[Dots]) -> str:
    """Draw means with the dots of seeds, a row each; a dashed line goes through the first mean."""
    ends = [value for row in rows for value in (*row.seeds, row.mean, row.high or 0.0)]
    top, step = _axis(max(ends))
    left, right = LABELS, WIDTH - 14
    height = 14 + LINE * len(rows)

    def x(value: float) -> float:
        return left + (right - left) * min(max(value, 0.0) / top, 1.0)

    parts = []
    for tick in np.arange(0, top + step / 2, step):
        parts.append(_path(f"M{x(tick):.1f} 8V{height}", "grid"))
        parts.append(_text(x(tick), height + 14, f"{100 * tick:g}", "middle", "soft"))
    parts.append(_path(f"M{x(rows[0].mean):.1f} 8V{height}", "first"))
    for number, row in enumerate(rows):
        y = 14 + LINE * (number + 0.5)
        parts.append(_text(left - 10, y + 4, row.name, "end"))
        if row.low is not None and row.high is not None:
            parts.append(_path(f"M{x(row.low):.1f} {y}H{x(row.high):.1f}", "range"))
        parts += [f'<circle class="seed" cx="{x(one):.1f}" cy="{y}" r="3"/>' for one in row.seeds]
        said = f"{row.name}: {100 * row.mean:.1f} %"
        parts.append(
            f'<circle class="mean" cx="{x(row.mean):.1f}" cy="{y}" r="5">'
            f"<title>{escape(said)}</title></circle>"
        )
    return _svg(title, height + 22, parts)


def lines(
    title: str,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    *,
    across: str,
    percent: bool,
    log: bool = False,
) -> str:
    """Draw curves through points (x, y), with a legend below.

    Args:
        title: what is drawn.
        curves: by name.
        across: what x is.
        percent: whether y are fractions, to be shown as percent.
        log: whether x grows by factors.
    """
    points = [point for curve in curves.values() for point in curve]
    scale = 100.0 if percent else 1.0
    top, step = _axis(max(y for _, y in points))
    places = sorted({x for x, _ in points})
    along = [float(np.log2(x)) if log else x for x in places]
    low, high = along[0], along[-1]
    left, right, height = 40, WIDTH - 14, 220

    def at(x: float, y: float) -> tuple[float, float]:
        value = float(np.log2(x)) if log else x
        share = (value - low) / (high - low) if high > low else 0.5
        return left + 8 + (right - left - 16) * share, height - (height - 12) * y / top

    parts = []
    for tick in np.arange(0, top + step / 2, step):
        y = at(places[0], tick)[1]
        parts.append(_path(f"M{left} {y:.1f}H{right}", "grid"))
        parts.append(_text(left - 6, y + 4, f"{scale * tick:g}", "end", "soft"))
    shown = places if log or len(places) <= 6 else places[:: len(places) // 5]
    for place in shown:
        parts.append(_text(at(place, 0)[0], height + 15, f"{place:g}", "middle", "soft"))
    parts.append(_text((left + right) / 2, height + 31, across, "middle", "soft"))
    for number, (name, curve) in enumerate(curves.items()):
        kind = f"c{number % COLOURS}"
        positions = [at(*point) for point in curve]
        path = "L".join(f"{px:.1f} {py:.1f}" for px, py in positions)
        parts.append(_path(f"M{path}", f"curve {kind}"))
        for (px, py), (_, value) in zip(positions, curve, strict=True):
            parts.append(
                f'<circle class="point {kind}" cx="{px:.1f}" cy="{py:.1f}" r="4">'
                f"<title>{escape(name)}: {scale * value:.3g}</title></circle>"
            )
    return _svg(title, height + 36, parts) + _legend(list(curves))


def _axis(most: float) -> tuple[float, float]:
    """Return the end of an axis from 0 that holds a value, and the steps of its ticks."""
    most = most if most > 0 else 0.01
    rough = most / 4
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999))
    return float(np.ceil(most / step - 1e-9) * step), step


def _legend(names: Sequence[str]) -> str:
    items = "".join(
        f'<li><i class="c{number % COLOURS}"></i>{escape(name)}</li>'
        for number, name in enumerate(names)
    )
    return f'<ul class="legend">{items}</ul>'


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )


def _path(path: str, kind: str) -> str:
    return f'<path class="{kind}" d="{path}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
