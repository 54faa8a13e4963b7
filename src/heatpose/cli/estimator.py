"""The pipeline as commands open it: what runs it, and where its boxes come from."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heatpose.errors import DataError, OptionError

if TYPE_CHECKING:
    from heatpose.pipeline import PoseEstimator
    from heatpose.runtime.bundle import Bundle
    from heatpose.runtime.detector import ObjectDetector
    from heatpose.types import Effort

# With targets given, each takes the best detections of its object however unsure they are.
TARGETS_THRESHOLD = 0.005
FOREIGN_THRESHOLD = 0.25  # of a detector of which we know no better


class Runtime(StrEnum):
    """What runs the networks."""

    openvino = "openvino"
    onnxruntime = "onnxruntime"


RuntimeOption = Annotated[Runtime, typer.Option(help="What runs the networks.")]
DetectorOption = Annotated[
    Path | None,
    typer.Option(
        help="Detector to use instead of the bundle's: ONNX, one image in, (n, 6) out: left, top, "
        "right, bottom in px of its input, score, class."
    ),
]
DetectorObjectsOption = Annotated[
    str | None,
    typer.Option(help="Object ids in the order of that detector's classes, as in 1,5,6."),
]
# At each box of a data set's targets: results are compared, not waited for.
TARGETS_LOOKS, TARGETS_PASSES = 3, 3

ThresholdOption = Annotated[
    float | None, typer.Option(min=0, max=1, help="Score from which on a detection counts.")
]


def open_estimator(
    bundle: "Bundle",
    effort: "Effort",
    *,
    has_boxes: bool,
    detector: Path | None,
    detector_objects: str | None,
    threshold: float | None,
    runtime: Runtime,
    threads: int | None,
) -> "PoseEstimator":
    """Open the pipeline of a bundle, with a detector where boxes are not given.

    Raises:
        OptionError: options contradict each other, or nothing says where objects are.
        DataError: the detector's file cannot be used.
    """
    from heatpose.pipeline import PoseEstimator

    if (detector is None) != (detector_objects is None):
        raise OptionError("--detector and --detector-objects go together")
    if has_boxes and (detector is not None or threshold is not None):
        raise OptionError("--detector and --threshold say nothing where boxes are given")
    foreign = None
    if has_boxes:
        bundle = replace(bundle, detector=None)  # if it has one, that need not be loaded
    elif detector is not None and detector_objects is not None:
        ids = _object_ids(detector_objects)
        foreign = _open_detector(detector, ids, effort.looks > 1, threshold, runtime, threads)
    elif bundle.detector is None:
        raise OptionError(
            f"the bundle {bundle.name} holds no detector: say where objects are with --boxes, "
            "or give a detector with --detector"
        )
    return PoseEstimator.from_bundle(
        bundle,
        effort,
        backend=runtime.value,
        threads=threads,
        threshold=threshold,
        detector=foreign,
    )


def _open_detector(
    path: Path,
    ids: list[int],
    mirrored: bool,
    threshold: float | None,
    runtime: Runtime,
    threads: int | None,
) -> "ObjectDetector":
    from heatpose.runtime.detector import ObjectDetector

    try:
        network = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    least = FOREIGN_THRESHOLD if threshold is None else threshold
    return ObjectDetector(
        network, ids, mirrored=mirrored, threshold=least, backend=runtime.value, threads=threads
    )


def _object_ids(text: str) -> list[int]:
    """Read ``1,5,6``."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words) or len(set(words)) < len(words):
        raise OptionError(f"--detector-objects must be ids as in 1,5,6, got {text!r}")
    return [int(word) for word in words]
