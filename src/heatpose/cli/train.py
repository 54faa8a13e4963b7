"""``heatpose train keypoints``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from heatpose.cli import options


def keypoints(
    objects: options.Objects,
    out: options.RunFolder,
    samples: options.Samples = 1_000_000,
    minutes: options.Minutes = None,
    unit: Annotated[
        str | None, typer.Option(help="Of CAD files: mm, cm, m or inch; guessed if not given.")
    ] = None,
    backgrounds: options.Backgrounds = None,
    backbone: options.Backbone = None,
    init: Annotated[
        Path | None, typer.Option(help="network.safetensors in a run, or a bundle, to start from.")
    ] = None,
    resume: options.Resume = False,
    n_keypoints: Annotated[
        int | None,
        typer.Option(
            help="Keypoints of each object.", show_default="32, or all that --keypoints has"
        ),
    ] = None,
    strategy: Annotated[
        Literal["fps", "curvature", "uniform", "bbox", "candidates"],
        typer.Option(help="How keypoints are chosen; bbox goes with --n-keypoints 9."),
    ] = "fps",
    keypoints_file: Annotated[
        Path | None,
        typer.Option(
            "--keypoints", help="Keypoints that `heatpose object keypoints` chose, instead."
        ),
    ] = None,
    activation: Annotated[
        Literal["relu", "silu", "mish"], typer.Option(help="Of the whole network.")
    ] = "relu",
    stages: Annotated[
        int,
        typer.Option(min=3, max=4, help="Of the ResNet-18; 3 are faster, and small."),
    ] = 4,
    crop_size: options.CropSize = 256,
    batch_size: options.BatchSize = 32,
    learning_rate: options.LearningRate = 1e-3,
    schedule: Annotated[
        Literal["cosine", "constant", "one-cycle"],
        typer.Option(help="Of the learning rate, stepped with each batch."),
    ] = "cosine",
    precision: Annotated[
        Literal["bf16", "fp32"], typer.Option(help="What training computes in.")
    ] = "bf16",
    labels: Annotated[
        Literal["colour", "shape"],
        typer.Option(
            help="What keypoints tell of an object's turns: all that its colours do, or no more "
            "than its shape does. Then its markings tell the rest, when poses are estimated."
        ),
    ] = "colour",
    pose_weight: Annotated[float, typer.Option(help="Weight of the pose term in the loss.")] = 0.0,
    monte_carlo_weight: Annotated[
        float, typer.Option(min=0, help="Weight of the Monte Carlo pose loss of EPro-PnP.")
    ] = 0.0,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Keep the weights of stem and first stage.")
    ] = False,
    upright: options.Upright = 0.0,
    hidden: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of views with another object in front; needs several objects."
        ),
    ] = 0.0,
    harsh: options.Harsh = 0.0,
    scenes: Annotated[
        list[Path] | None,
        typer.Option(help="BOP data set to cut samples from; several times."),
    ] = None,
    scenes_split: Annotated[str, typer.Option(help="Folder of their scenes.")] = "train",
    scenes_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of samples from scenes; others are rendered.")
    ] = 1.0,
    scenes_roll: Annotated[
        float,
        typer.Option(min=0, max=180, help="Largest roll of the camera in these, degrees."),
    ] = 180.0,
    depth: Annotated[
        Literal["none", "early", "late", "cross", "only"],
        typer.Option(help="How the network takes depth beside colours, or depth only."),
    ] = "none",
    on_device: Annotated[
        bool,
        typer.Option(
            "--on-device", help="Draw samples in batches where they are trained on: for GPUs."
        ),
    ] = False,
    echo: options.Echo = 1,
    epoch_samples: options.EpochSamples = 8192,
    workers: options.Workers = 2,
    devices: options.Devices = 1,
    seed: options.Seed = 0,
) -> None:
    """Train the keypoint network on views rendered from CAD models, or cut from scenes."""
    from math import radians

    from heatpose.cli.failures import checked_options
    from heatpose.data.batch_samples import DrawingConfig
    from heatpose.data.bop import BopDataset
    from heatpose.data.depth_samples import DepthConfig
    from heatpose.data.samples import SampleConfig
    from heatpose.data.views import ViewConfig
    from heatpose.errors import OptionError
    from heatpose.model.fusion import Fusion
    from heatpose.model.network import NetworkConfig
    from heatpose.objects.chosen_keypoints import with_chosen_keypoints
    from heatpose.train.config import TrainConfig
    from heatpose.train.loop import train_keypoints
    from heatpose.train.losses import LossConfig
    from heatpose.train.start import find_objects, make_batches, make_maker, make_network

    if frozen and depth == "only":
        raise OptionError("--frozen keeps a pretrained stem, which --depth only does not have")
    if on_device and scenes:
        raise OptionError("--on-device draws from CAD models: no --scenes")
    if echo > 1 and not on_device:
        raise OptionError(f"--echo {echo} is of samples drawn with --on-device, which is not given")
    fusion: Fusion = "depth" if depth == "only" else depth
    # A network of depth alone learns nothing from crops without any.
    measured = DepthConfig(missing=0.0) if depth == "only" else DepthConfig()
    count = 32 if n_keypoints is None else n_keypoints
    chosen_by: str = strategy
    with checked_options():
        models = find_objects(objects, unit, count, strategy)
        if keypoints_file is not None:
            models, chosen_by = with_chosen_keypoints(models, keypoints_file, n_keypoints)
        config = TrainConfig(
            samples=samples,
            samples_per_epoch=epoch_samples,
            minutes=minutes,
            batch_size=batch_size,
            learning_rate=learning_rate,
            schedule=schedule,
            bf16=precision == "bf16",
            frozen=frozen,
            keypoints=chosen_by,
            labels=labels,
            seed=seed,
            workers=workers,
            devices=devices,
            echo=echo,
            sample=SampleConfig(
                crop_size=crop_size,
                harsh=harsh,
                roll=radians(scenes_roll),
                views=ViewConfig(upright=upright, hidden=hidden),
                depth=None if depth == "none" else measured,
            ),
            drawing=DrawingConfig() if on_device else None,
            loss=LossConfig(pose=pose_weight, monte_carlo=monte_carlo_weight),
        )
        network_config = NetworkConfig(
            len(models),
            n_keypoints=len(models[0].keypoints),
            activation=activation,
            crop_size=crop_size,
            stages=stages,
            fusion=fusion,
        )
    datasets = [BopDataset(root, scenes_split) for root in scenes or []]
    maker = make_maker(models, backgrounds, config.sample, datasets, scenes_share)
    if not (resume or init or backbone):
        typer.echo("weights from scratch: a pretrained trunk (--backbone) trains much faster")
    network = make_network(network_config, seed, backbone, init, models)
    batches = (
        make_batches(maker, backgrounds, config.sample, config.drawing) if config.drawing else None
    )
    train_keypoints(out, maker, network, config, resume, batches=batches)
    typer.echo(f"trained network in {out}; next: heatpose export {out} --out NAME.heatpose")
