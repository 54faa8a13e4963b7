"""``heatpose train detector``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from heatpose.cli import options


def detector(
    out: options.RunFolder,
    dataset: Annotated[
        list[Path] | None, typer.Option(help="BOP data set, drawn or real; several times.")
    ] = None,
    on_device: Annotated[
        bool,
        typer.Option(
            "--on-device",
            help="Draw samples from the models of --objects, where they are trained on: for GPUs.",
        ),
    ] = False,
    split: Annotated[
        list[str], typer.Option(help="Folder of the scenes, for all data sets or one for each.")
    ] = ["train"],  # noqa: B006, typer copies it
    objects: Annotated[
        Path | None,
        typer.Option(help="Models folder whose objects are learned; else all in the data sets."),
    ] = None,
    size: Annotated[Literal["n", "s", "m", "b", "l", "x"], typer.Option(help="Of YOLOv10.")] = "m",
    image_size: Annotated[int, typer.Option(help="Side of the training images, px.")] = 640,
    samples: options.Samples = 200_000,
    minutes: options.Minutes = None,
    backgrounds: options.Backgrounds = None,
    init: Annotated[
        Path | None,
        typer.Option(help="network.safetensors of a run, or published weights, to start from."),
    ] = None,
    trunk: Annotated[
        Path | None,
        typer.Option(
            help="Keypoint network, a run or a bundle, whose trunk it looks through, kept as it "
            "is, instead of a backbone of YOLOv10."
        ),
    ] = None,
    unseen: Annotated[
        Path | None,
        typer.Option(help="BOP data set to try the network on after each epoch, not trained on."),
    ] = None,
    unseen_split: Annotated[str, typer.Option(help="Folder of its scenes.")] = "test",
    resume: options.Resume = False,
    batch_size: options.BatchSize = 16,
    learning_rate: options.LearningRate = 1e-3,
    scale: Annotated[
        tuple[float, float],
        typer.Option(help="Size of objects, least and most; at 1 a whole frame just fits."),
    ] = (0.5, 2.0),
    mosaic: Annotated[
        float, typer.Option(help="Share of samples that are four pictures side by side.")
    ] = 0.25,
    collage: Annotated[
        float, typer.Option(help="Share of pictures that are objects pasted onto a background.")
    ] = 0.3,
    harsh: options.Harsh = 0.0,
    echo: options.Echo = 1,
    epoch_samples: options.EpochSamples = 4096,
    workers: options.Workers = 2,
    devices: options.Devices = 1,
    seed: options.Seed = 0,
) -> None:
    """Train a YOLOv10 detector on BOP data sets, or on pictures drawn from CAD models."""
    from heatpose.cli.failures import checked_options
    from heatpose.data.backgrounds import Backgrounds
    from heatpose.data.batch_detection import DetectionBatchMaker, DetectionDrawingConfig
    from heatpose.data.detection_samples import DetectionSampleConfig, DetectionSet
    from heatpose.errors import OptionError
    from heatpose.model.yolov10 import BackboneKind, YoloConfig
    from heatpose.train.config import DetectorConfig
    from heatpose.train.detector_start import (
        make_detection_batches,
        make_detector,
        make_unseen,
        objects_to_find,
        open_datasets,
    )
    from heatpose.train.loop import check_folder, train_detector
    from heatpose.train.start import find_objects

    if on_device == bool(dataset):
        raise OptionError("give --dataset, or --on-device with --objects, and not both")
    if on_device and objects is None:
        raise OptionError("--on-device draws the models of --objects, which are not given")
    if echo > 1 and not on_device:
        raise OptionError(f"--echo {echo} is of samples drawn with --on-device, which is not given")
    with checked_options():
        config = DetectorConfig(
            samples=samples,
            samples_per_epoch=epoch_samples,
            minutes=minutes,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            workers=workers,
            devices=devices,
            echo=echo,
            image_size=image_size,
            sample=DetectionSampleConfig(
                image_size=image_size, scale=scale, mosaic=mosaic, collage=collage, harsh=harsh
            ),
            drawing=DetectionDrawingConfig(image_size, harsh=harsh) if on_device else None,
        )
    datasets = open_datasets(dataset, split) if dataset else []
    models = find_objects([objects], None, 8, "fps") if on_device and objects else []
    names = {m.object_id: m.name for m in models} or objects_to_find(datasets, objects)
    backbone: BackboneKind = "resnet18" if trunk else "yolov10"
    network = make_detector(YoloConfig(len(names), size, backbone), seed, init, trunk)
    check_folder(out, network, resume)  # before much is read
    drawn: DetectionSet | DetectionBatchMaker
    if config.drawing is not None:
        drawn = make_detection_batches(models, backgrounds, config.drawing)
    else:
        drawn = DetectionSet(datasets, list(names), config.sample, Backgrounds(backgrounds))
    tried_on = make_unseen(unseen, unseen_split, list(names), image_size) if unseen else None
    typer.echo(
        f"YOLOv10{size}{' on a trunk' if trunk else ''} for {len(names)} objects: "
        f"{config.samples} samples of {image_size} px in {config.epochs} epochs of "
        f"{config.steps_per_epoch} steps"
    )
    train_detector(out, drawn, network, config, names=names, unseen=tried_on, resume=resume)
    typer.echo(f"trained detector in {out}")
