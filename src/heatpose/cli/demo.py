"""``heatpose demo``."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heatpose.errors import DataError

if TYPE_CHECKING:
    from rich.table import Table

    from heatpose.data.frames import Frame
    from heatpose.evaluate.deviation import Deviation
    from heatpose.geometry.arrays import Array
    from heatpose.objects.catalogue import ObjectModel
    from heatpose.pipeline import PoseEstimator
    from heatpose.types import PoseEstimate

BUNDLE = "lmo.heatpose"
WITHIN = 0.1  # of the diameter: what the literature calls a right pose


@dataclass(frozen=True, eq=False)
class Found:
    """What there is to say of one object in a picture."""

    name: str
    estimate: "PoseEstimate | None"
    deviation: "Deviation | None"  # None where there is no estimate


@dataclass(frozen=True, eq=False)
class Picture:
    """What there is to say of one picture."""

    path: Path
    seconds: float  # for all its poses
    found: list[Found]


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the overlays.")] = Path("out/demo"),
    examples: Annotated[
        Path | None,
        typer.Option(
            help="Folder with images, true poses and bundle.",
            show_default="demo, here or in the clone heatpose runs from",
        ),
    ] = None,
) -> None:
    """Estimate poses in rendered example pictures and compare them with the true ones."""
    from rich.console import Console

    from heatpose.data.bop_files import read_scene_gt
    from heatpose.data.frames import frames_of_images
    from heatpose.data.images import write_image
    from heatpose.draw.overlay import Overlay
    from heatpose.pipeline import PoseEstimator
    from heatpose.runtime.bundle import read_bundle

    folder = _examples_folder(examples)
    bundle = read_bundle(folder / BUNDLE)
    objects = {one.object_id: one for one in bundle.objects}
    frames = frames_of_images(
        [folder / "images"], folder / "camera.json", folder / "boxes.json", objects
    )
    truth = read_scene_gt(folder / "scene_gt.json")
    estimator = PoseEstimator.from_bundle(bundle)
    overlay = Overlay(bundle.objects)
    out.mkdir(parents=True, exist_ok=True)

    pictures = []
    for frame in frames:
        estimates, seconds = _estimate(estimator, frame)
        poses = {pose.object_id: pose.camera_from_object for pose in truth[frame.image_id]}
        pictures.append(Picture(frame.path, seconds, _compare(estimates, poses, objects)))
        write_image(out / f"{frame.path.stem}.png", overlay.draw(frame.read(), estimates))
    # Nothing may be cut off where the output is narrow or goes to a file.
    Console(width=max(Console().width, 100)).print(_table(pictures))
    typer.echo(_sentence(pictures))
    typer.echo(f"overlays: {', '.join(str(out / f'{one.path.stem}.png') for one in pictures)}")


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


def _estimate(estimator: "PoseEstimator", frame: "Frame") -> tuple[list["PoseEstimate"], float]:
    """Return the poses in a picture and how long they took, s."""
    observation = frame.read()
    estimator(observation, frame.detections)  # the first call of a runtime sets things up
    start = time.perf_counter()
    estimates = estimator(observation, frame.detections)
    return estimates, time.perf_counter() - start


def _compare(
    estimates: Sequence["PoseEstimate"],
    truth: Mapping[int, "Array"],
    objects: Mapping[int, "ObjectModel"],
) -> list[Found]:
    from heatpose.evaluate.deviation import deviation

    by_id = {one.object_id: one for one in reversed(estimates)}  # the best stays
    return [
        Found(
            objects[object_id].name,
            one := by_id.get(object_id),
            deviation(one.camera_from_object, pose, objects[object_id]) if one else None,
        )
        for object_id, pose in sorted(truth.items())
    ]


def _table(pictures: Sequence[Picture]) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("image", no_wrap=True)
    table.add_column("time\nms", justify="right", no_wrap=True)
    table.add_column("object", no_wrap=True)
    # In 80 columns: narrow headers, and ADD(-S) in diameters alone.
    for header in ("x, y, z\nmm", "off\nmm", "turned\ndeg", "ADD(-S)\nof d", "score"):
        table.add_column(header, justify="right", no_wrap=True)
    for picture in pictures:
        heads = [(picture.path.name, f"{1000 * picture.seconds:.0f}")]
        heads += [("", "")] * (len(picture.found) - 1)
        for head, one in zip(heads, picture.found, strict=True):
            table.add_row(*head, one.name, *_cells(one))
        table.add_section()
    return table


def _cells(one: Found) -> list[str]:
    if one.estimate is None or one.deviation is None:
        return ["no pose", *[""] * 4]
    x, y, z = one.estimate.camera_from_object[:3, 3]
    off = one.deviation
    return [
        f"{x:.0f}, {y:.0f}, {z:.0f}",
        f"{off.shift:.1f}",
        f"{math.degrees(off.turn):.1f}",
        f"{off.share:.3f}",
        f"{one.estimate.score:.2f}",
    ]


def _sentence(pictures: Sequence[Picture]) -> str:
    deviations = [one.deviation for picture in pictures for one in picture.found]
    right = sum(off is not None and off.share < WITHIN for off in deviations)
    return (
        f"{right} of {len(deviations)} poses within {WITHIN} diameters of the truth "
        "(ADD; ADD-S for symmetric objects)"
    )
