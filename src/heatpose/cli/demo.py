"""``heatpose demo``."""

import math
import time
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heatpose.errors import DataError

if TYPE_CHECKING:
    from rich.table import Table

    from heatpose.data.frames import Frame
    from heatpose.draw.page import PagePicture
    from heatpose.evaluate.comparison import Finding
    from heatpose.pipeline import PoseEstimator
    from heatpose.types import PoseEstimate

# Of a pose that is shown: below, it is a guess. The score stands in where nothing was calibrated.
LEAST_PROBABILITY, LEAST_SCORE = 0.1, 0.1
BUNDLE = "lmo.heatpose"


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the page and the overlays.")] = Path(
        "out/demo"
    ),
    examples: Annotated[
        Path | None,
        typer.Option(
            help="Folder with images, true poses and bundle.",
            show_default="demo, here or in the clone heatpose runs from",
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Estimate poses in rendered example pictures and compare them with the true ones.

    Prints a table and writes a page, index.html, with the pictures, the poses and the time that
    each stage took.
    """
    from rich.console import Console

    from heatpose.data.bop_files import read_scene_gt
    from heatpose.data.frames import frames_of_images
    from heatpose.data.images import write_image
    from heatpose.draw.overlay import Overlay
    from heatpose.draw.page import PagePicture, write_page
    from heatpose.evaluate.comparison import compare_poses, summary
    from heatpose.evaluate.latency import machine
    from heatpose.pipeline import PoseEstimator
    from heatpose.runtime.bundle import read_bundle

    folder = _examples_folder(examples)
    bundle = read_bundle(folder / BUNDLE)
    models = {one.object_id: one for one in bundle.objects}
    boxes = folder / "boxes.json" if bundle.detector is None else None
    frames = frames_of_images([folder / "images"], folder / "camera.json", boxes, models)
    truth = read_scene_gt(folder / "scene_gt.json")
    estimator = PoseEstimator.from_bundle(bundle)
    overlay = Overlay(bundle.objects)
    out.mkdir(parents=True, exist_ok=True)

    pictures = []
    for frame in frames:
        estimates, stages, total = _estimate(estimator, frame)
        drawn = overlay.draw(frame.read(), estimates)
        write_image(out / f"{frame.path.stem}.png", drawn)
        found = compare_poses(estimates, truth[frame.image_id], models)
        pictures.append(PagePicture(frame.path.name, drawn, stages, total, found))
    sentence = summary(one for picture in pictures for one in picture.findings)
    page = out / "index.html"
    write_page(page, pictures, sentence, machine())
    # Nothing may be cut off where the output is narrow or goes to a file.
    Console(width=max(Console().width, 100)).print(_table(pictures))
    typer.echo(sentence)
    typer.echo(f"page: {page}, overlays: {out / '*.png'}")
    if show:
        webbrowser.open(page.resolve().as_uri())


def _examples_folder(given: Path | None) -> Path:
    """Return the folder as given, or the one in the working directory or in heatpose's clone."""
    clone = Path(__file__).resolve().parents[3]
    places = [given] if given is not None else [Path("demo"), clone / "demo"]
    for place in places:
        if (place / BUNDLE).exists():
            return place
    raise DataError(
        f"no {BUNDLE} in {' or '.join(map(str, places))}: "
        "run this in a clone of heatpose, or name the folder with --examples"
    )


def _estimate(
    estimator: "PoseEstimator", frame: "Frame"
) -> tuple[list["PoseEstimate"], dict[str, float], float]:
    """Return the poses in a picture that are not mere guesses, and how long it took, ms."""
    from heatpose.evaluate.latency import Stopwatch

    observation = frame.read()
    estimator(observation, frame.detections)  # the first call of a runtime sets things up
    watch = Stopwatch()
    estimator.timed = watch
    start = time.perf_counter()
    found = estimator(observation, frame.detections)
    total = 1000 * (time.perf_counter() - start)
    estimates = [one for one in found if believable(one)]
    return estimates, watch.milliseconds, total


def believable(estimate: "PoseEstimate") -> bool:
    """Say whether a pose is more than a guess."""
    if estimate.probability is None:
        return estimate.score >= LEAST_SCORE
    return estimate.probability >= LEAST_PROBABILITY


def _table(pictures: Sequence["PagePicture"]) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("image", no_wrap=True)
    table.add_column("time\nms", justify="right", no_wrap=True)
    table.add_column("object", no_wrap=True)
    # In 80 columns: narrow headers, and ADD(-S) in diameters alone.
    for header in ("x, y, z\nmm", "off\nmm", "turned\ndeg", "ADD(-S)\nof d", "sure"):
        table.add_column(header, justify="right", no_wrap=True)
    for picture in pictures:
        rows = [(one.model.name, *_cells(one)) for one in picture.findings] or [("none",)]
        heads = [(picture.name, f"{picture.total:.0f}"), *[("", "")] * (len(rows) - 1)]
        for head, row in zip(heads, rows, strict=True):
            table.add_row(*head, *row)
        table.add_section()
    return table


def _cells(one: "Finding") -> list[str]:
    from heatpose.draw.overlay import how_sure

    if one.estimate is None:
        return [one.verdict]
    x, y, z = one.estimate.camera_from_object[:3, 3]
    off = one.deviation
    return [
        f"{x:.0f}, {y:.0f}, {z:.0f}",
        f"{off.shift:.1f}" if off else one.verdict,
        f"{math.degrees(off.turn):.1f}" if off else "",
        f"{off.share:.3f}" if off else "",
        how_sure(one.estimate),
    ]
