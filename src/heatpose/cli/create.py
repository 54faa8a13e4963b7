"""``heatpose create``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from heatpose.cli import options

GPU_BATCHES = {"keypoint_batch": 256, "detector_batch": 64}


def create(
    meshes: Annotated[
        list[Path],
        typer.Argument(metavar="MESH...", help="CAD files, or one BOP models folder."),
    ],
    out: Annotated[Path, typer.Option(help="The bundle to make: NAME.heatpose.")],
    minutes: Annotated[
        float, typer.Option(help="How long all of it may take; more makes it better.")
    ] = 45,
    unit: options.CadUnit = None,
    backgrounds: options.Backgrounds = None,
    environments: options.Environments = None,
    camera: Annotated[
        Path | None, typer.Option(help="Camera file of what it is for (BOP's camera.json).")
    ] = None,
    backbone: options.Backbone = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Bundle or run of other objects to start from, such as demo/lmo.heatpose: "
            "in little time this makes a network of use."
        ),
    ] = None,
    detector_init: Annotated[
        Path | None,
        typer.Option(
            help="network.safetensors of a detector of other objects to start from, such as "
            "weights/yolov10n_lm.safetensors."
        ),
    ] = None,
    size: Annotated[
        Literal["n", "s", "m", "b", "l", "x"], typer.Option(help="Of the detector, YOLOv10.")
    ] = "n",
    crop_size: Annotated[
        int | None, typer.Option(help="Side of the keypoint network's crops, px; by the minutes.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the detector's images, px; by the minutes.")
    ] = None,
    pathtrace: Annotated[
        bool, typer.Option("--pathtrace/--no-pathtrace", help="Path trace a part of the scenes.")
    ] = True,
    on_device: Annotated[
        bool | None,
        typer.Option(
            "--on-device/--no-on-device",
            help="Draw samples where networks are trained, and no training scenes.",
            show_default="where there is a GPU",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes for scenes and samples.")] = 2,
    work: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps every step's results; by default NAME.create."),
    ] = None,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Measure this machine, say the plan and end.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of scenes, samples and weights.")] = 0,
) -> None:
    """Make a bundle from CAD models: scenes, both trainings, export and a first evaluation.

    Stopped at any point, the same command goes on where it was.
    """
    from heatpose.create.plan import CreateConfig
    from heatpose.create.run import create as create_bundle
    from heatpose.data.cameras import read_camera
    from heatpose.data.views import ViewConfig
    from heatpose.train.start import training_device

    if on_device is None:
        on_device = training_device().type == "cuda"
    config = CreateConfig(
        minutes=minutes,
        size=size,
        camera=read_camera(camera).ideal if camera else ViewConfig().camera,
        backgrounds=backgrounds,
        environments=environments,
        backbone=backbone,
        init=init,
        detector_init=detector_init,
        pathtrace=pathtrace,
        on_device=on_device,
        **(GPU_BATCHES if on_device else {}),
        seed=seed,
        workers=workers,
        crop_size=crop_size,
        image_size=image_size,
    )
    made = create_bundle(
        meshes,
        out,
        config,
        unit=unit.value if unit else None,
        work=work,
        plan_only=plan_only,
    )
    if made is not None:
        typer.echo(made.summary)
        typer.echo(f"bundle: {made.bundle}, report: {made.report}")
