"""Options that several commands have: the same words and the same help wherever they stand."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Unit(StrEnum):
    """Units that mesh files come in."""

    MM = "mm"
    CM = "cm"
    M = "m"
    INCH = "inch"


LOOKS = (
    "Crops of each object, nearer and farther, solved together; with two or more the detector sees "
    "each picture in a mirror too. Surer and slower."
)
PASSES = (
    "How often objects are looked at, from the second time on where they turned out to be: surer "
    "and slower."
)

Backbone = Annotated[
    Path | None, typer.Option(help="ImageNet ResNet-18 under torchvision's names.")
]
Backgrounds = Annotated[
    Path | None, typer.Option(help="Folder of photographs; without it they are generated.")
]
BatchSize = Annotated[int, typer.Option(help="Samples in a batch.")]
Bundle = Annotated[Path, typer.Option(help="Bundle that `heatpose export` wrote.")]
CadUnit = Annotated[
    Unit | None, typer.Option(help="Of CAD files; guessed from their size if not given.")
]
CropSize = Annotated[int, typer.Option(help="Side of the crops, px.")]
Devices = Annotated[
    int, typer.Option(min=1, help="GPUs, or processes where there is none, that share each batch.")
]
Echo = Annotated[
    int,
    typer.Option(min=1, help="How often each sample of --on-device is learned from, steps apart."),
]
Environments = Annotated[
    Path | None,
    typer.Option(help="Folder of environment maps (.exr, .hdr); without it: generated."),
]
EpochSamples = Annotated[int, typer.Option(help="Samples between two checkpoints.")]
Harsh = Annotated[
    float,
    typer.Option(min=0, max=1, help="Share of samples with light and colours beyond rendering."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
KnownOnly = Annotated[
    bool, typer.Option("--known-only", help="Pass over objects that the bundle does not know.")
]
LearningRate = Annotated[float, typer.Option(help="At the top of the schedule.")]
Looks = Annotated[int, typer.Option(min=1, max=3, help=LOOKS)]
Minutes = Annotated[
    float | None, typer.Option(help="End, with the schedule done, after these if not before.")
]
Objects = Annotated[
    list[Path],
    typer.Option(help="BOP models folder (obj_*.ply, mm), or a CAD file; several times."),
]
Outline = Annotated[
    bool, typer.Option("--outline/--no-outline", help="Let outlines in the picture correct poses.")
]
Passes = Annotated[int, typer.Option(min=1, help=PASSES)]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from last.ckpt.")]
RunFolder = Annotated[Path, typer.Option(help="Run folder to write.")]
Samples = Annotated[int, typer.Option(help="Training samples in all.")]
Seed = Annotated[int, typer.Option(help="Of samples and weights.")]
Split = Annotated[str, typer.Option(help="Folder of the data set's scenes.")]
Targets = Annotated[
    str | None,
    typer.Option(help="Name of the targets file.", show_default="SPLIT_targets_bop19.json"),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Processor threads.", show_default="all")]
Upright = Annotated[
    float, typer.Option(help="Share of views from above with the object's z axis up.")
]
Workers = Annotated[int, typer.Option(help="Processes that make samples.")]
