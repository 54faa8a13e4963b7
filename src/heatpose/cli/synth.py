"""``heatpose synth``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from heatpose.cli import options
from heatpose.errors import OptionError

if TYPE_CHECKING:
    from heatpose.render.depth_sensors import MeasuredBy
    from heatpose.synth.run import Job

DepthCamera = Literal["none", "any", "structured-light", "stereo", "time-of-flight"]


# What a benchmark leaves to who draws it.
FREE = {"context", "objects", "out", "benchmark", "workers", "ray", "unit"}


def synth(
    context: typer.Context,
    objects: options.Objects,
    out: Annotated[Path, typer.Option(help="Folder of the data set.")],
    scenes: Annotated[
        int | None, typer.Option(help="Scenes in all; more may be asked for later.")
    ] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(help="Draw a data set to measure on, always the same: rgbd-lmo."),
    ] = None,
    engine: Annotated[
        Literal["pathtrace", "raycast"],
        typer.Option(help="pathtrace: all light that bounces; raycast: quicker, direct light."),
    ] = "pathtrace",
    views: Annotated[int, typer.Option(help="Images of a scene.")] = 8,
    instances: Annotated[
        tuple[int, int], typer.Option(help="Objects in a scene, fewest and most.")
    ] = (4, 12),
    saturations: Annotated[
        tuple[float, float],
        typer.Option(help="Factor on the colours of objects, least and most; CAD is often pale."),
    ] = (1.0, 1.0),
    standing: Annotated[
        float,
        typer.Option(help="Share of the scenes on a table in which objects stand with z up."),
    ] = 0.5,
    sizes: Annotated[
        tuple[float, float],
        typer.Option(help="Diameter of what a camera looks at, least and most, px."),
    ] = (40.0, 200.0),
    backgrounds: options.Backgrounds = None,
    environments: options.Environments = None,
    camera: Annotated[
        Path | None, typer.Option(help="Camera file; by default LINEMOD's, 640 x 480.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Light paths a pixel, of pathtrace.")] = 16,
    variant: Annotated[
        str | None,
        typer.Option(help="Of mitsuba: cuda_ad_rgb, llvm_ad_rgb, scalar_rgb; or the fastest."),
    ] = None,
    depth_sensor: Annotated[
        DepthCamera,
        typer.Option(
            help="What makes the depth; any: another for each image. The truth is kept beside."
        ),
    ] = "none",
    workers: Annotated[
        int | None, typer.Option(help="Processes; as many as there are cores if not given.")
    ] = None,
    ray: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster, or local.", metavar="ADDRESS")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
    first_scene: Annotated[int, typer.Option(help="Number of the first scene.")] = 0,
    split: Annotated[str, typer.Option(help="Folder of the scenes in the data set.")] = "train",
    unit: options.CadUnit = None,
    png: Annotated[bool, typer.Option("--png", help="Colour without loss, not as JPEG.")] = False,
) -> None:
    """Draw a BOP data set of scenes in which the objects stand, lie and pile up.

    Stopped at any point, the same command goes on with the next scene.
    """
    if benchmark is not None:
        taken = sorted(p for p in context.params if p not in FREE and _is_given(context, p))
        _draw_benchmark(benchmark, taken, objects, out, unit, workers, ray)
        return
    if scenes is None:
        raise typer.BadParameter("give --scenes, or --benchmark")

    from heatpose.cli.failures import checked_options
    from heatpose.data.cameras import read_camera
    from heatpose.synth.layout import SceneConfig
    from heatpose.synth.recipe import SynthConfig
    from heatpose.synth.run import Order, prepare

    with checked_options():
        seen_by = SceneConfig().camera if camera is None else read_camera(camera)
        if seen_by.distortion:
            typer.echo(f"{camera}: pictures are drawn as they are once the distortion is removed")
        config = SynthConfig(
            engine=engine,
            samples=samples,
            variant=variant,
            seed=seed,
            png=png,
            depth=_measured_by(depth_sensor),
            scene=SceneConfig(
                camera=seen_by.ideal,
                views=(views, views),
                objects=instances,
                standing=standing,
                saturations=saturations,
                sizes=sizes,
            ),
        )
        order = Order(
            objects=objects,
            out=out,
            scenes=scenes,
            first_scene=first_scene,
            split=split,
            unit=unit,
            backgrounds=backgrounds,
            environments=environments,
            workers=workers,
            ray=ray,
        )
    job = prepare(order, config)
    typer.echo(_plan(job, order.scenes, views))
    _carry_out(job, views)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _measured_by(name: DepthCamera) -> "MeasuredBy":
    """Return what `SynthConfig` calls a depth camera."""
    from heatpose.render.depth_sensors import DepthSensor, Kind

    if name == "none":
        return None
    return "any" if name == "any" else DepthSensor(cast(Kind, name.replace("-", "_")))


def _draw_benchmark(
    name: str,
    taken: list[str],
    objects: list[Path],
    out: Path,
    unit: options.Unit | None,
    workers: int | None,
    ray: str | None,
) -> None:
    """Draw a benchmark, and say whether it is what it should be."""
    from heatpose.data.bop import BopDataset
    from heatpose.data.visibility import visibility_of
    from heatpose.synth.benchmark import BENCHMARKS, MANIFEST, write_manifest
    from heatpose.synth.run import Order, prepare

    if name not in BENCHMARKS:
        raise OptionError(f"--benchmark is one of {', '.join(BENCHMARKS)}, not {name!r}")
    if taken:
        options = ", ".join(f"--{one.replace('_', '-')}" for one in taken)
        raise OptionError(f"the benchmark {name} says itself what {options} would")
    recipe = BENCHMARKS[name]
    views = recipe.config.scene.views[0]
    order = Order(
        objects, out, recipe.scenes, split=recipe.split, unit=unit, workers=workers, ray=ray
    )
    job = prepare(order, recipe.config)
    typer.echo(_plan(job, recipe.scenes, views))
    _carry_out(job, views)
    typer.echo(visibility_of(BopDataset(out, recipe.split)))
    digest = write_manifest(out, recipe.split)
    typer.echo(f"SHA-256 of images and labels: {digest}")
    if recipe.digest is not None and digest != recipe.digest:
        typer.echo(
            f"warning: {recipe.digest} was expected: {out / MANIFEST} says which files it is made "
            "of. Other models, another processor or other versions of libraries draw others",
            err=True,
        )


def _plan(job: "Job", scenes: int, views: int) -> str:
    """Say what will be done."""
    config, camera = job.config, job.config.scene.camera
    by = f"pathtrace ({config.variant or 'fastest variant of each machine'})"
    there = scenes - len(job.numbers)
    return (
        f"{scenes} scenes of {views} images, {camera.width} x {camera.height}, by "
        f"{by if config.engine == 'pathtrace' else config.engine}, on "
        f"{f'the Ray cluster {job.ray}' if job.ray else _processes(job.workers)}"
        + (f"; {there} scenes are there already" if there else "")
    )


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _carry_out(job: "Job", views: int) -> None:
    """Make what is missing, show how far it is, and say what came of it."""
    import contextlib
    import time

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from heatpose.errors import DataError
    from heatpose.synth.dataset import finish

    out, split = job.folder.parent, job.folder.name
    started, made, problems = time.monotonic(), 0, []
    bar = Progress(
        TextColumn("scenes"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} images/s"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
        disable=not job.numbers,
    )
    task = bar.add_task("scenes", total=len(job.numbers), rate=0.0)
    try:
        with bar, contextlib.closing(job.run()) as outcomes:
            for outcome in outcomes:
                if outcome.problem is None:
                    made += 1
                else:
                    problems.append(f"scene {outcome.number}: {outcome.problem}")
                rate = made * views / (time.monotonic() - started)
                bar.update(task, advance=1, rate=rate)
    finally:  # of an interrupted run too: what is there can be used
        images = finish(out, split)
    seconds = time.monotonic() - started
    if made:
        typer.echo(
            f"{made * views} images in {seconds:.0f} s, {made * views / seconds:.2f} a second"
        )
    if problems:
        raise DataError(f"{len(problems)} scenes could not be made: {'; '.join(problems)}")
    typer.echo(f"{images} images in {job.folder}; look at {out / 'preview.jpg'}")
