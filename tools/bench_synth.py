"""Images per second of `heatpose synth` against the number of processes, as a Markdown table.

python tools/bench_synth.py --objects MODELS --engine raycast --workers 1 --workers 2
"""

import tempfile
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from heatpose.evaluate.latency import machine
from heatpose.synth.layout import SceneConfig
from heatpose.synth.recipe import SynthConfig
from heatpose.synth.run import Order, prepare

STAGES = ("scene", "picture", "labels", "sensors", "files")


def bench(
    objects: Annotated[Path, typer.Option(help="BOP models folder.")],
    engine: Annotated[Literal["pathtrace", "raycast"], typer.Option()] = "raycast",
    variant: Annotated[str | None, typer.Option(help="Of mitsuba.")] = None,
    samples: Annotated[int, typer.Option(help="Light paths a pixel.")] = 16,
    backgrounds: Annotated[Path | None, typer.Option()] = None,
    environments: Annotated[Path | None, typer.Option()] = None,
    workers: Annotated[list[int], typer.Option(help="Processes; several times.")] = [1, 2],  # noqa: B006
    scenes: Annotated[int, typer.Option(help="Of each process, after a first one.")] = 2,
    views: Annotated[int, typer.Option(help="Images of a scene.")] = 8,
    ray: Annotated[str | None, typer.Option(help="Address of a Ray cluster, or local.")] = None,
) -> None:
    """Measure; the first scene of each process is not counted, it has to start and to compile."""
    config = SynthConfig(
        engine=engine, variant=variant, samples=samples, scene=SceneConfig(views=(views, views))
    )
    print(f"{machine()}\n")
    print(f"| engine | processes | images/s | s/image of a process: {', '.join(STAGES)} |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for count in workers:
            order = Order(
                objects=[objects],
                out=Path(folder),
                scenes=count * (1 + scenes),
                split=f"with_{count}",
                backgrounds=backgrounds,
                environments=environments,
                workers=count,
                ray=ray,
            )
            print(_row(order, config, count, views), flush=True)


def _row(order: Order, config: SynthConfig, count: int, views: int) -> str:
    job = prepare(order, config)
    spent = dict.fromkeys(STAGES, 0.0)
    started, made = 0.0, 0
    for number, outcome in enumerate(job.run(), start=1):
        if outcome.problem is not None:
            raise SystemExit(f"scene {outcome.number}: {outcome.problem}")
        if number > count:
            made += views
            spent = {stage: spent[stage] + outcome.seconds[stage] for stage in STAGES}
        elif number == count:
            started = time.monotonic()
    rate = made / (time.monotonic() - started)
    name = f"{config.engine} {job.config.variant or ''}".strip() + (" on Ray" if order.ray else "")
    parts = ", ".join(f"{spent[stage] / made:.3f}" for stage in STAGES)
    return f"| {name} | {count} | {rate:.2f} | {parts} |"


if __name__ == "__main__":
    typer.run(bench)
