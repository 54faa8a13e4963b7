"""``heatpose bench``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heatpose.cli import options
from heatpose.cli.estimator import (
    DetectorObjectsOption,
    DetectorOption,
    Runtime,
    RuntimeOption,
    ThresholdOption,
    open_estimator,
)
from heatpose.cli.progress import progress
from heatpose.errors import OptionError

if TYPE_CHECKING:
    from rich.table import Table

    from heatpose.evaluate.latency import Latency


def bench(
    bundle: options.Bundle,
    dataset: Annotated[Path, typer.Option(help="BOP data set whose targets are estimated.")],
    boxes: Annotated[
        Path | None,
        typer.Option(
            help="Detections in the form of the BOP challenge; without them the detector is timed."
        ),
    ] = None,
    detector: DetectorOption = None,
    detector_objects: DetectorObjectsOption = None,
    threshold: ThresholdOption = None,
    split: options.Split = "test",
    targets: options.Targets = None,
    known_only: options.KnownOnly = False,
    no_depth: Annotated[
        bool, typer.Option("--no-depth", help="Leave the depth of the data set alone.")
    ] = False,
    single: Annotated[
        bool,
        typer.Option("--single", help="Take one box a frame, of the highest score; with --boxes."),
    ] = False,
    looks: options.Looks = 1,
    passes: options.Passes = 1,
    outline: options.Outline = True,
    runtime: RuntimeOption = Runtime.openvino,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads.")] = 2,
    json: options.Json = False,
) -> None:
    """Time every stage from an image to the poses in it, over the frames of a data set.

    The total is from the image in memory to all poses; reading the file is listed apart.
    """
    from json import dumps

    from rich.console import Console

    from heatpose.data.bop import BopDataset
    from heatpose.data.frames import frames_of_targets, with_depth_of
    from heatpose.evaluate.latency import measure
    from heatpose.runtime.bundle import read_bundle
    from heatpose.types import Effort

    if single and boxes is None:
        raise OptionError("--single needs --boxes: a detector looks for all objects at once")
    contents = read_bundle(bundle)
    known = [one.object_id for one in contents.objects]
    data = BopDataset(dataset, split, targets)
    frames = frames_of_targets(data, boxes, known, known_only=known_only)
    if single:
        frames = [frame.with_best_detection() for frame in frames]
    if not no_depth:
        frames = with_depth_of(frames, data)
    estimator = open_estimator(
        contents,
        Effort(looks=looks, passes=passes, outline=outline, depth=not no_depth),
        has_boxes=boxes is not None,
        detector=detector,
        detector_objects=detector_objects,
        threshold=threshold,
        runtime=runtime,
        threads=threads,
    )
    latency = measure(estimator, frames, threads, progress("timing"))
    if json:
        record = latency.as_record() | {"bundle": contents.identity, "runtime": runtime.value}
        typer.echo(dumps(record, indent=2))
        return
    Console(width=max(Console().width, 80)).print(_table(latency))
    typer.echo(
        f"{contents.identity} in {runtime.value}, {threads} threads on {latency.machine}: "
        f"{latency.poses_per_frame:g} poses a frame in the median of {latency.n_frames} frames"
    )


def _table(latency: "Latency") -> "Table":
    from rich.table import Table

    table = Table("stage", title="milliseconds a frame")
    table.add_column("median", justify="right")
    table.add_column("90 %", justify="right")
    for stage, times in latency.stages.items():
        table.add_row(stage, f"{times.median:.1f}", f"{times.p90:.1f}", end_section=stage == "read")
    return table
