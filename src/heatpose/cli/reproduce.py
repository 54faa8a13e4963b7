"""``heatpose reproduce linemod``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from heatpose.cli import options

if TYPE_CHECKING:
    from heatpose.create.linemod import ReproductionConfig
    from heatpose.data.sources import Source


def linemod(
    data: Annotated[
        Path,
        typer.Option(help="LINEMOD: Linemod_preprocessed, the archive of 2012, or BOP's lm."),
    ],
    protocol: Annotated[
        Literal["paper", "field"],
        typer.Option(help="paper: random 90/10 of each object; field: train.txt and test.txt."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of all that is made.")],
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would be done, and how long; do nothing.")
    ] = False,
    samples: options.Samples = 2_000_000,
    from_images: Annotated[
        float, typer.Option(min=0, max=1, help="Share of samples from images; others are rendered.")
    ] = 0.5,
    backgrounds: options.Backgrounds = None,
    backbone: options.Backbone = None,
    n_keypoints: Annotated[int, typer.Option(min=4, help="Keypoints of each object.")] = 32,
    crop_size: options.CropSize = 256,
    batch_size: options.BatchSize = 32,
    epoch_samples: options.EpochSamples = 8192,
    workers: Annotated[int, typer.Option(min=0, help="Processes that make samples.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the random split, samples and weights.")] = 0,
) -> None:
    """Train and test on LINEMOD as papers do; stopped, the same command goes on.

    Colours alone, boxes of the ground truth.
    """
    from heatpose.cli.failures import checked_options
    from heatpose.create.linemod import (
        PROTOCOLS,
        ReproductionConfig,
        frames_by_scene,
        reproduce,
        split_source,
    )
    from heatpose.data.recognise import read_source
    from heatpose.data.samples import SampleConfig
    from heatpose.evaluate.report import as_record
    from heatpose.train.config import TrainConfig

    with checked_options():
        config = ReproductionConfig(
            training=TrainConfig(
                samples=samples,
                samples_per_epoch=epoch_samples,
                batch_size=batch_size,
                workers=workers,
                seed=seed,
                sample=SampleConfig(crop_size=crop_size),
            ),
            from_images=from_images,
            n_keypoints=n_keypoints,
            backgrounds=backgrounds,
            backbone=backbone,
        )
    source = split_source(read_source(data), protocol, seed)
    train, test = (frames_by_scene(source, split) for split in ("train", "test"))
    typer.echo(f"protocol {protocol}, {PROTOCOLS[protocol]}")
    typer.echo(
        f"{sum(train.values())} frames to train on and {sum(test.values())} to test on, "
        f"of {len(source.models)} objects"
    )
    if plan:
        _say_plan(out, source, config)
        return
    scores = as_record(reproduce(source, out, protocol, config))
    mean = scores["mean"]
    typer.echo(
        f"{scores['targets']} targets in true boxes: ADD(-S) 0.1d {mean['add_s_0.1d']:.3f}, "
        f"0.05d {mean['add_s_0.05d']:.3f}, proj 5 px {mean['proj_5px']:.3f} -> {out}/scores.json"
    )


def _say_plan(out: Path, source: "Source", config: "ReproductionConfig") -> None:
    from heatpose.create.linemod import FEEDERS, measure_time, read_source_models

    time = measure_time(read_source_models(source, config.n_keypoints), config)
    typer.echo(f"1. write it as BOP has it to {out}/data")
    typer.echo(
        f"2. train {config.n_keypoints} keypoints of {len(source.models)} objects on "
        f"{time.samples:,} crops of {config.training.sample.crop_size} px, "
        f"{config.from_images:.0%} of them from training frames"
    )
    typer.echo(f"3. export {out}/linemod.heatpose, estimate poses in the test frames, score them")
    typer.echo(
        f"measured here: a sample takes {1000 * time.making:.0f} ms of one core to make and "
        f"{1000 * time.stepping:.0f} ms to train on, so training takes {time.cpu_hours:.3g} hours "
        f"of one core, or {time.gpu_hours:.3g} GPU hours where {FEEDERS} cores feed one GPU"
    )
