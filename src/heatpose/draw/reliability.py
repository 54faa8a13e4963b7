"""Whether probabilities hold, as a picture."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from heatpose.evaluate.reliability import Reliability
from heatpose.files import write_whole

BLUE, GREY, LIGHT = "#1f6fb4", "#777777", "#c9dcec"


def draw_reliability(path: Path, found: Reliability, title: str) -> None:
    """Write a PNG with the reliability diagram and the curves of risk over coverage.

    Args:
        path: of the picture.
        found: what probabilities promised and what came true.
        title: what was checked on what.

    Raises:
        DataError: it cannot be written.
    """
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    left, right = figure.subplots(1, 2)
    _diagram(left, found)
    _risk(right, found)
    with write_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _diagram(axes: Axes, found: Reliability) -> None:
    """Draw what came true over what was promised; the area of a dot is its number of poses."""
    promised = np.array([one.probability for one in found.bins])
    came_true = np.array([one.right for one in found.bins])
    counts = np.array([one.count for one in found.bins])
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="as promised")
    axes.vlines(promised, promised, came_true, color=LIGHT, linewidth=3, zorder=1)
    axes.scatter(promised, came_true, 20 + 400 * counts / counts.max(), BLUE, zorder=2)
    for x, y, count in zip(promised, came_true, counts, strict=True):
        axes.annotate(
            f"{count}", (x, y), (0, 12), textcoords="offset points", ha="center", fontsize=8
        )
    axes.set(xlim=(0, 1), ylim=(-0.03, 1.06), xlabel="probability", ylabel="share that is right")
    axes.set_title(f"expected calibration error {found.calibration_error:.3f}", fontsize=10)
    axes.legend(loc="upper left", frameon=False)
    _plain(axes)


def _risk(axes: Axes, found: Reliability) -> None:
    """Draw how many are wrong among those that one would take first."""
    shown = {
        "by probability": (found.curves.by_probability, BLUE, "-"),
        "by score": (found.curves.by_score, GREY, "-"),
        "at best": (found.curves.at_best, GREY, ":"),
    }
    coverage = np.arange(1, found.n_poses + 1) / found.n_poses
    for name, (curve, colour, line) in shown.items():
        axes.plot(coverage, curve, line, color=colour, label=f"{name}, area {curve.mean():.3f}")
    axes.set(xlim=(0, 1), ylim=(-0.03, 1.06), xlabel="share of poses taken, surest first")
    axes.set_ylabel("share of these that is wrong")
    axes.set_title(f"{found.n_right} of {found.n_poses} poses are right", fontsize=10)
    axes.legend(loc="lower right", frameon=False)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
