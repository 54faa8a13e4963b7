"""``heatpose estimate``."""

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heatpose.cli import options
from heatpose.cli.estimator import (
    TARGETS_LOOKS,
    TARGETS_PASSES,
    TARGETS_THRESHOLD,
    DetectorObjectsOption,
    DetectorOption,
    Runtime,
    RuntimeOption,
    ThresholdOption,
    open_estimator,
)
from heatpose.cli.progress import progress
from heatpose.errors import DataError, OptionError

if TYPE_CHECKING:
    from heatpose.data.frames import Frame
    from heatpose.data.poses import FramePoses
    from heatpose.draw.overlay import Overlay
    from heatpose.pipeline import PoseEstimator
    from heatpose.runtime.bundle import Bundle
    from heatpose.types import Observation, PoseEstimate


BOXES = (
    "Where objects are; without it the bundle's detector is asked. For images: JSON, "
    '{"table.jpg": [{"object_id": 5, "box": [left, top, right, bottom], "score": 0.97}]}, px. '
    "For images of a data set: the list of detections of "
    "the BOP challenge (scene_id, image_id, category_id, bbox as x, y, width, height, score)."
)


def estimate(
    bundle: options.Bundle,
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    images: Annotated[
        list[Path] | None, typer.Argument(help="Image files, and folders of image files.")
    ] = None,
    boxes: Annotated[Path | None, typer.Option(help=BOXES)] = None,
    true_boxes: Annotated[
        bool,
        typer.Option(
            "--true-boxes",
            help="Take boxes from a data set's ground truth: shows what is lost after detection.",
        ),
    ] = False,
    detector: DetectorOption = None,
    detector_objects: DetectorObjectsOption = None,
    threshold: ThresholdOption = None,
    camera: Annotated[
        Path | None,
        typer.Option(help="Camera of the images: BOP camera.json, or a file with a matrix K."),
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(help="BOP data set: estimate its targets, with each image's own camera."),
    ] = None,
    split: options.Split = "test",
    targets: options.Targets = None,
    overlays: Annotated[
        bool, typer.Option("--overlays/--no-overlays", help="Draw a picture for each image.")
    ] = True,
    known_only: options.KnownOnly = False,
    candidates: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Boxes looked into for each target of a data set; one pose stays.",
            show_default="5 where the bundle's detector is asked, 2 of a file",
        ),
    ] = None,
    looks: Annotated[
        int | None,
        typer.Option(min=1, max=3, help=options.LOOKS, show_default="3 with a data set, else 1"),
    ] = None,
    passes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=options.PASSES,
            show_default="3 with a data set, else 1",
        ),
    ] = None,
    outline: options.Outline = True,
    sequence: Annotated[
        bool,
        typer.Option(
            "--sequence",
            help="Images follow each other: symmetric objects keep their representative.",
        ),
    ] = False,
    depth: Annotated[
        Path | None,
        typer.Option(
            help="Depth images: one for one image, or a folder of files named like the images. A "
            "data set brings its own."
        ),
    ] = None,
    depth_scale: Annotated[
        float | None,
        typer.Option(
            min=0, help="Mm per unit of depth images.", show_default="camera's depth_scale, or 1"
        ),
    ] = None,
    depth_camera: Annotated[
        Path | None,
        typer.Option(
            help="Camera of the depth images, with colour_from_depth (4 x 4, mm), where they are "
            "not registered to the colour images."
        ),
    ] = None,
    no_depth: Annotated[
        bool, typer.Option("--no-depth", help="Look at no depth, even if a data set has it.")
    ] = False,
    no_geometry: Annotated[
        bool,
        typer.Option("--no-geometry", help="Show depth to a network that looks at it, no more."),
    ] = False,
    no_table: Annotated[
        bool,
        typer.Option(
            "--no-table", help="Do not put objects that seem to stand on one plane onto it."
        ),
    ] = False,
    no_markings: Annotated[
        bool,
        typer.Option("--no-markings", help="Do not turn objects as what is printed on them says."),
    ] = False,
    runtime: RuntimeOption = Runtime.openvino,
    threads: options.Threads = None,
) -> None:
    """Estimate the poses of objects in images, or of the targets of a BOP data set.

    Writes poses.json, BOP's results.csv (its time is seconds an image, the detector included
    where there are no boxes), detections.json with all that the detector found, and overlays/
    with a picture for each image: model outline, axes (x red, y green, z blue), keypoints (green
    dots agree with the pose, red crosses do not), name and probability (or score).

    The detections' threshold is by default the bundle's, and 0.005 with a data set: for each target
    the best detections of its object are looked into, the worse half is given up in each pass, and
    the poses that keypoints agree with best are kept, as many as there are instances.
    """
    from heatpose.data.bop import BopDataset
    from heatpose.data.frames import (
        frames_of_images,
        frames_of_targets,
        usual_candidates,
        with_depth_of,
        with_true_boxes,
    )
    from heatpose.runtime.bundle import read_bundle
    from heatpose.types import Effort

    if true_boxes and (dataset is None or boxes is not None):
        raise OptionError("--true-boxes goes with --dataset, and not with --boxes")
    if dataset is not None and depth is not None:
        raise OptionError("--depth goes with images; a data set brings its own")
    if depth is None and (depth_scale is not None or depth_camera is not None):
        raise OptionError("--depth-scale and --depth-camera go with --depth")
    if depth is not None and no_depth:
        raise OptionError("--depth and --no-depth contradict each other")
    contents = read_bundle(bundle)
    known = [one.object_id for one in contents.objects]
    has_boxes = boxes is not None or true_boxes
    candidates = candidates or usual_candidates(boxes, true_boxes)
    if dataset is not None and not images and camera is None:
        data = BopDataset(dataset, split, targets)
        frames = frames_of_targets(data, boxes, known, known_only=known_only, candidates=candidates)
        if true_boxes:
            frames = with_true_boxes(frames, data)
        if not no_depth:
            frames = with_depth_of(frames, data)
    elif images and camera is not None and dataset is None:
        frames = frames_of_images(images, camera, boxes, known, known_only=known_only)
        if depth is not None:
            frames = _with_depth(frames, depth, depth_scale, depth_camera, camera)
    else:
        raise typer.BadParameter("give IMAGES and --camera, or --dataset")
    if dataset is not None and not has_boxes and threshold is None:
        threshold = TARGETS_THRESHOLD
    estimator = open_estimator(
        contents,
        Effort(
            looks=looks or (1 if dataset is None else TARGETS_LOOKS),
            passes=passes or (1 if dataset is None else TARGETS_PASSES),
            outline=outline,
            depth=not no_depth,
            geometry=not no_geometry,
            table=not no_table,
            markings=not no_markings,
        ),
        has_boxes=has_boxes,
        detector=detector,
        detector_objects=detector_objects,
        threshold=threshold,
        runtime=runtime,
        threads=threads,
    )
    _write(
        out,
        frames,
        contents,
        estimator,
        overlays=overlays,
        detected=not has_boxes,
        sequence=sequence,
    )


def _with_depth(
    frames: Sequence["Frame"],
    depth: Path,
    scale: float | None,
    depth_camera: Path | None,
    camera: Path,
) -> list["Frame"]:
    """Give images their depth; the scale is by default that of the camera which took it."""
    from heatpose.data.depth import read_depth_camera, read_depth_scale
    from heatpose.data.frames import with_depth

    taken_by = None if depth_camera is None else read_depth_camera(depth_camera)
    if scale is None:
        scale = read_depth_scale(camera if depth_camera is None else depth_camera)
    if scale <= 0:
        raise OptionError(f"--depth-scale must be positive, got {scale}")
    return with_depth(frames, depth, scale, taken_by)


def _write(
    out: Path,
    frames: Sequence["Frame"],
    contents: "Bundle",
    estimator: "PoseEstimator",
    *,
    overlays: bool,
    detected: bool,
    sequence: bool,
) -> None:
    """Estimate, write all results or none, and say what came of it."""
    from heatpose.data.poses import write_found, write_poses
    from heatpose.data.results import write_results
    from heatpose.draw.overlay import Overlay

    with _whole_folder(out) as folder:
        drawing = Overlay(contents.objects) if overlays else None
        found = list(_estimated(frames, estimator, drawing, folder / "overlays", sequence))
        names = {one.object_id: one.name for one in contents.objects}
        write_poses(folder / "poses.json", found, names, contents.identity)
        write_results(folder / "results.csv", [r for one in found for r in one.results()])
        if detected:
            write_found(folder / "detections.json", found)
        written = sorted(f"{p.name}/" if p.is_dir() else p.name for p in folder.iterdir())
    n_boxes = sum(len(one.boxes) for one in found)
    n_poses = sum(len(one.estimates) for one in found)
    typer.echo(
        f"{n_poses} poses of {n_boxes} boxes in {len(frames)} images: {out}/ ({', '.join(written)})"
    )


def _estimated(
    frames: Sequence["Frame"],
    estimator: "PoseEstimator",
    drawing: "Overlay | None",
    pictures: Path,
    sequence: bool,
) -> Iterator["FramePoses"]:
    """Estimate the poses in each frame and draw them, with the time left on stderr."""
    from heatpose.data.images import undistort, write_image
    from heatpose.solve.steady import steady

    if drawing is not None:
        pictures.mkdir()
    before: tuple[int, Sequence[PoseEstimate]] = (-1, ())  # scene, and what was found there last
    for frame in progress("estimating")(frames):
        observation = frame.read()
        found = _poses_in(observation, frame, estimator)
        if sequence:
            last = before[1] if before[0] == frame.scene_id else ()
            kept = steady(found.estimates, last, estimator.objects)
            before = frame.scene_id, kept
            found = replace(found, estimates=tuple(kept))
        yield found
        if drawing is not None:
            picture = drawing.draw(undistort(observation), found.estimates)
            write_image(pictures / f"{frame.scene_id:06d}_{frame.image_id:06d}.jpg", picture)


def _poses_in(
    observation: "Observation", frame: "Frame", estimator: "PoseEstimator"
) -> "FramePoses":
    """Find what is asked for in one frame: detections given or found, the best chosen, posed."""
    from heatpose.data.poses import FramePoses

    start = time.perf_counter()
    given = frame.detections
    detections = tuple(estimator.detect(observation)) if given is None else given
    detected = time.perf_counter()
    boxes = tuple(frame.choose(detections))
    posed = estimator(observation, frame.look_at(detections), frame.wanted)
    estimates = tuple(frame.choose_poses(posed))
    end = time.perf_counter()
    return FramePoses(frame, estimates, end - start, boxes, detections, detected - start)


@contextlib.contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """Give a temporary folder whose files move into ``out`` when all went well.

    After an error ``out`` is as it was: previous results survive.
    """
    existed = out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unfinished.", dir=out) as temporary:
            folder = Path(temporary)
            yield folder
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                place = out / path.relative_to(folder)
                place.parent.mkdir(exist_ok=True)
                path.replace(place)
        existed = True
    except OSError as error:
        raise DataError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        if not existed:
            with contextlib.suppress(OSError):
                out.rmdir()
