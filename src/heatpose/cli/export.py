"""``heatpose export``."""

from pathlib import Path
from typing import Annotated

import typer

from heatpose.errors import OptionError


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

    With --bundle and --detector an existing bundle gets a detector, or another one.
    """
    from heatpose.export.bundle import add_detector, export_run

    if (run is None) == (bundle is None):
        raise typer.BadParameter("give a RUN folder, or a --bundle to take the keypoints from")
    if run is None and (notes or attribution or names or int8_keypoints):
        raise OptionError(
            "--notes, --attribution, --names and --int8-keypoints belong to a RUN: bundles keep "
            "theirs"
        )
    if detector is None and (bundle is not None or int8 or image_size):
        raise OptionError("--bundle, --int8 and --image-size ask for a --detector")
    for side in image_size or []:
        if side % 32:
            raise OptionError(f"--image-size must be divisible by 32, got {side}")
    if bundle is not None and detector is not None:
        found = add_detector(
            bundle, detector, out, name=name, int8=int8, threshold=threshold, image_sizes=image_size
        )
        typer.echo(f"{out}: {_megabytes(out):.1f} MB; detector against torch: {found}")
    elif run is not None:
        report = export_run(
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
        typer.echo(
            f"{out}: {_megabytes(out):.1f} MB; keypoints against torch: {report.exact} in f32, "
            f"{report.fast} in {report.precision} (OpenVINO's choice here)"
        )
        if report.detector is not None:
            typer.echo(f"detector against torch: {report.detector}")


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
