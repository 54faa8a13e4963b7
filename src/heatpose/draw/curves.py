"""Curves side by side, as a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from heatpose.files import write_whole

COLUMNS = 3


@dataclass(frozen=True)
class Curve:
    """One line of a panel. What is called alike up to the first comma has one colour."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False
    dotted: bool = False


def draw_curves(path: Path, panels: Mapping[str, Sequence[Curve]], what: str) -> None:
    """Write an SVG or a PNG, by the ending of its name, with a panel for each group of curves.

    Args:
        path: of the picture.
        panels: curves by what is along the axis x.
        what: is along the axis y of all.

    Raises:
        DataError: it cannot be written.
    """
    n_rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(4.2 * COLUMNS, 3.4 * n_rows + 0.6), layout="constrained")
    axes = figure.subplots(n_rows, COLUMNS, sharey=True, squeeze=False).ravel()
    colours: dict[str, str] = {}
    for panel, (title, curves) in zip(axes, panels.items(), strict=False):
        for curve in curves:
            colour = colours.setdefault(curve.name.split(",")[0], f"C{len(colours)}")
            line = ":" if curve.dotted else "--" if curve.dashed else "-"
            x, y = zip(*sorted(curve.points), strict=True)
            marker = "" if curve.dotted else "o"
            panel.plot(x, y, line, color=colour, marker=marker, markersize=3, label=curve.name)
        panel.set_xlabel(title)
        panel.grid(color="#e6e6e6", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in axes[len(panels) :]:
        panel.set_visible(False)
    for panel in axes[::COLUMNS]:
        panel.set_ylabel(what)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    with write_whole(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:] or "png", dpi=110)
