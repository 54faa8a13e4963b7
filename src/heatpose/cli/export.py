"""``heatpose export``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heatpose.errors import OptionError

if TYPE_CHECKING:
    from heatpose.export.bundle import ExportReport


def export(
    out: Annotated[Path, typer.Option(help="Bundle to write: NAME.heatpose, or a folder.")],
    run: Annotated[
        Path | None, typer.Argument(help="Run folder that `heatpose train keypoints` wrote.")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Bundle whose keypoint network is kept, instead of a RUN's."),
    ] = None,
    detector: Annotated[
        Path | None,
        typer.Option(
            help="Run folder that `heatpose train detector` wrote, to go into the bundle."
        ),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Store the detector in eight bits: half the bytes.")
    ] = False,
    int8_keypoints: Annotated[
        bool,
        typer.Option(
            "--int8-keypoints",
            help="Let the keypoint network compute in eight bits: fast, not to be trained on.",
        ),
    ] = False,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Score from which on its detections count.")
    ] = 0.25,
    image_size: Annotated[
        list[int] | None,
        typer.Option(
            min=32,
            help="Longer side of the images the detector looks at, px; several times: it looks "
            "at each, and joins what it finds.",
            show_default="objects as large as training showed them",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the bundle; by default the file's.")] = None,
    notes: Annotated[str, typer.Option(help="Figures and the like, for the card.")] = "",
    attribution: Annotated[
        str, typer.Option(help="Where the CAD models come from, and their licence.")
    ] = "",
    names: Annotated[str, typer.Option(help="Names for objects by id, as in 1=ape,5=can.")] = "",
) -> None:
    """Turn training runs into one bundle that finds objects and their poses without torch.

    With --bundle an existing bundle gets a --detector, or another one, or its keypoint network
    computes in eight bits from then on (--int8-keypoints).
    """
    from heatpose.export.bundle import change_bundle, export_run

    keypoints: ExportReport | None
    changed = run is None and bundle is not None
    if changed and (notes or attribution or names):
        raise OptionError("--notes, --attribution and --names belong to a RUN: bundles keep theirs")
    if detector is None and (int8 or image_size):
        raise OptionError("--int8 and --image-size ask for a --detector")
    if changed and detector is None and not int8_keypoints:
        raise OptionError("--bundle asks for a --detector, or for --int8-keypoints")
    for side in image_size or []:
        if side % 32:
            raise OptionError(f"--image-size must be divisible by 32, got {side}")
    if run is not None and bundle is None:
        keypoints, found = export_run(
            run,
            out,
            name=name,
            notes=notes,
            attribution=attribution,
            object_names=_names_by_id(names),
            detector=detector,
            int8=int8,
            int8_keypoints=int8_keypoints,
            threshold=threshold,
            image_sizes=image_size,
        )
    elif bundle is not None and run is None:
        keypoints, found = change_bundle(
            bundle,
            out,
            name=name,
            detector=detector,
            int8=int8,
            int8_keypoints=int8_keypoints,
            threshold=threshold,
            image_sizes=image_size,
        )
    else:
        raise typer.BadParameter("give a RUN folder, or a --bundle to take the keypoints from")
    typer.echo(f"{out}: {_megabytes(out):.1f} MB{_compared(keypoints, found)}")


def _compared(keypoints: "ExportReport | None", detector: str | None) -> str:
    """Say how well exported networks keep to those that they were made of."""
    said = ""
    if keypoints is not None:
        said += (
            f"; keypoints against torch: {keypoints.exact} in f32, {keypoints.fast} in "
            f"{keypoints.precision} (OpenVINO's choice here)"
        )
    return said if detector is None else f"{said}; detector against torch: {detector}"


def _megabytes(path: Path) -> float:
    return sum(f.stat().st_size for f in [path, *path.rglob("*")] if f.is_file()) / 1e6


def _names_by_id(text: str) -> dict[int, str]:
    """Read ``1=ape,5=can``."""
    names = {}
    for part in filter(None, text.split(",")):
        object_id, _, name = part.partition("=")
        if not object_id.strip().isdigit() or not name.strip():
            raise typer.BadParameter(f"must be as in 1=ape,5=can, got {part!r}", param_hint="names")
        names[int(object_id)] = name.strip()
    return names
