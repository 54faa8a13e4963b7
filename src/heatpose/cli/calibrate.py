"""``heatpose calibrate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heatpose.cli import options
from heatpose.cli.estimator import Runtime, RuntimeOption
from heatpose.cli.progress import progress
from heatpose.errors import OptionError

if TYPE_CHECKING:
    from rich.table import Table

    from heatpose.data.bop import BopDataset
    from heatpose.data.frames import Frame
    from heatpose.evaluate.reliability import Reliability
    from heatpose.runtime.bundle import Bundle


def calibrate(
    bundle: Annotated[Path, typer.Argument(help="Bundle whose probabilities are meant.")],
    dataset: Annotated[
        Path, typer.Option(help="BOP data set with ground truth that it was not trained on.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Bundle to write; without it the bundle's own calibration is checked."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="PNG to draw: what was promised and what came true; risk and coverage."),
    ] = None,
    split: options.Split = "test",
    targets: options.Targets = None,
    boxes: Annotated[
        Path | None, typer.Option(help="Where objects are; by default the bundle's detector says.")
    ] = None,
    true_boxes: Annotated[
        bool, typer.Option("--true-boxes", help="Take the boxes of the ground truth.")
    ] = False,
    looks: options.Looks = 1,
    passes: options.Passes = 1,
    outline: options.Outline = True,
    depth: Annotated[
        bool, typer.Option("--depth", help="Poses that the depth of the data set corrects.")
    ] = False,
    table: Annotated[
        bool,
        typer.Option("--table", help="Poses of objects that stand on one plane, put onto it."),
    ] = False,
    runtime: RuntimeOption = Runtime.openvino,
    threads: options.Threads = None,
) -> None:
    """Learn how likely a bundle's poses are right, or check what it says of that.

    Poses are estimated in images whose truth is known. Each fifth of the scenes (or images, where
    there is one scene) is checked by what the others teach; then it is learned from all. Without
    --out nothing is learned: the bundle's own calibration is held against the truth.

    What is learned holds for poses found in the same way: a bundle may have a calibration for each
    number of --looks and --passes, and the nearest one counts; for poses without outlines only one
    learned with --no-outline, for poses that depth corrected only one learned with --depth, and
    where three objects or more of an image may stand on one plane only one learned with --table.
    Depth should be as good as that it is meant for: `synth --depth-sensor any` draws all kinds.
    """
    from dataclasses import replace

    from rich.console import Console

    from heatpose.cli.estimator import TARGETS_THRESHOLD, open_estimator
    from heatpose.data.bop import BopDataset
    from heatpose.evaluate.reliability import check, described, known_poses, learn_and_check
    from heatpose.export.card import with_calibration
    from heatpose.runtime.bundle import read_bundle, write_bundle
    from heatpose.solve.probability import nearest_calibration
    from heatpose.types import Effort

    if plot is not None:  # before the work, not after it
        from heatpose.draw.reliability import draw_reliability
    if true_boxes and boxes is not None:
        raise OptionError("--boxes and --true-boxes exclude each other")
    if depth and table:
        raise OptionError("--depth and --table exclude each other: depth needs no tables")
    contents = read_bundle(bundle)
    effort = Effort(looks=looks, passes=passes, outline=outline, table=table)
    own = nearest_calibration(contents.calibrations, effort, depth=depth, table=table)
    if out is None and own is None:
        of = (" of poses" if depth or table or not outline else "") + " with depth" * depth
        of += " on tables" * table
        of += "" if outline else " without outlines"
        raise OptionError(f"{bundle} has no calibration{of} to check: learn one with --out")
    data = BopDataset(dataset, split, targets)
    frames = _frames(contents, data, boxes, true_boxes, depth)
    has_boxes = true_boxes or boxes is not None
    estimator = open_estimator(
        contents,
        effort,
        has_boxes=has_boxes,
        detector=None,
        detector_objects=None,
        threshold=None if has_boxes else TARGETS_THRESHOLD,
        runtime=runtime,
        threads=threads,
    )
    poses = known_poses(estimator, frames, data, progress("estimating"))
    if out is None:
        assert own is not None
        found = check(own, poses)
    else:
        calibration, found = learn_and_check(poses)
        calibration = replace(calibration, looks=looks, passes=passes, outline=outline)
        learned_on = f"{len(poses.right)} poses of {data.root.name}/{data.split}"
        card = with_calibration(contents.card, calibration, learned_on, described(found))
        write_bundle(out, contents.with_calibration(calibration, card))
    Console().print(_table(found))
    typer.echo(described(found))
    if plot is not None:
        draw_reliability(plot, found, f"{contents.name} on {data.root.name}/{data.split}")
        typer.echo(f"drawn: {plot}")
    if out is not None:
        typer.echo(f"calibrated on {len(poses.right)} poses: {out}")


def _frames(
    bundle: "Bundle", dataset: "BopDataset", boxes: Path | None, true_boxes: bool, depth: bool
) -> "list[Frame]":
    """Return all targets that the bundle knows, with the boxes they are looked for in."""
    from heatpose.data.frames import (
        frames_of_targets,
        usual_candidates,
        with_depth_of,
        with_true_boxes,
    )

    known = [one.object_id for one in bundle.objects]
    candidates = usual_candidates(boxes, true_boxes)
    frames = frames_of_targets(dataset, boxes, known, known_only=True, candidates=candidates)
    if depth:
        frames = [frame for frame in with_depth_of(frames, dataset) if frame.depth is not None]
        if not frames:
            raise OptionError(f"--depth: {dataset.root} has no depth images")
    return with_true_boxes(frames, dataset) if true_boxes else frames


def _table(found: "Reliability") -> "Table":
    """Return what probabilities promise beside what came true."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("poses", "probability", "right", ""):
        table.add_column(heading, justify="left" if heading == "" else "right", no_wrap=True)
    for one in found.bins:
        bar = "█" * round(20 * one.right)
        table.add_row(str(one.count), f"{one.probability:.2f}", f"{one.right:.2f}", bar)
    return table
