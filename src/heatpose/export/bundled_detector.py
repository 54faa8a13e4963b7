"""From a training run of a detector to what a bundle holds of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from heatpose.data.backgrounds import generated_texture
from heatpose.errors import CheckpointError, UnknownObjectError
from heatpose.export.detector import (
    Difference,
    export_detector,
    largest_difference,
    quantise_detector,
)
from heatpose.geometry.arrays import Image
from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import random_rotation
from heatpose.geometry.transforms import make_transform
from heatpose.model.detector_weights import load_detector
from heatpose.model.yolov10 import YoloV10
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer
from heatpose.render.shading import shade
from heatpose.runtime.bundle import BundledDetector
from heatpose.runtime.bundle_record import DetectorSettings

THRESHOLD = 0.25  # score from which on a detection counts, where nothing else is asked for
# A float16 export further from the trained detector than this has gone wrong.
LARGEST_SHIFT = 4.0  # of a side of a box, px
LARGEST_CHANGE = 0.1  # of a score
_N_CALIBRATION, _N_CHECKED = 64, 8  # rendered pictures


def bundled_detector(
    run: Path,
    objects: Sequence[ObjectModel],
    *,
    int8: bool = False,
    threshold: float = THRESHOLD,
    image_sizes: Sequence[int] | None = None,
) -> tuple[BundledDetector, Difference]:
    """Turn a run folder into a detector for a bundle, once it proves to be the trained one.

    Args:
        run: folder that `heatpose train detector` wrote.
        objects: those of the bundle; pictures of them serve to compare and to calibrate.
        int8: store weights and compute in eight bits: half the bytes of float16. What that costs
            is told, and refused at no height.
        threshold: score from which on a detection counts.
        image_sizes: longer sides of the images it looks at, px, divisible by 32; what it finds in
            several is joined. By default the one at which objects have the size that training
            showed most.

    Raises:
        CheckpointError: the run's network cannot be used, or its float16 export differs from it.
        UnknownObjectError: the detector knows none of the objects.
    """
    network, notes = load_detector(run / "network.safetensors")
    settings = _settings(run, network, notes, threshold, int8)
    if image_sizes:
        settings = settings.model_copy(update={"image_sizes": list(image_sizes)})
    side = max(settings.image_sizes)
    known = [one for one in objects if one.object_id in settings.object_ids]
    if not known:
        raise UnknownObjectError(
            f"{run} finds objects {settings.object_ids}, none of "
            f"{[one.object_id for one in objects]}, which the bundle's keypoint network knows"
        )
    exported = export_detector(network)
    if int8:
        pictures = rendered_pictures(known, side, _N_CALIBRATION, seed=1)
        exported = quantise_detector(exported, pictures, side)
    pictures = rendered_pictures(known, side, _N_CHECKED)
    # Of the boxes that nobody will look at, a hair decides which cell wins.
    difference = largest_difference(exported, network, pictures, least=threshold)
    if not int8 and (difference.boxes > LARGEST_SHIFT or difference.scores > LARGEST_CHANGE):
        raise CheckpointError(
            f"the exported detector differs from that of {run}: {described(difference)}"
        )
    return BundledDetector(exported, settings), difference


def described(difference: Difference) -> str:
    """Say in words how far an exported detector is from the trained one."""
    if not difference.n_detections:
        return "nothing to compare (it finds nothing in rendered pictures)"
    return (
        f"boxes at most {difference.boxes:.2f} px and scores at most {difference.scores:.3f} "
        f"apart, of {difference.n_detections} in rendered pictures"
    )


def rendered_pictures(
    objects: Sequence[ObjectModel], size: int, count: int, seed: int = 0
) -> list[Image]:
    """Render some objects each before a random texture, (size, size, 3)."""
    rng = np.random.default_rng(seed)
    renderer = Renderer({one.object_id: one.mesh for one in objects})
    focal = 0.9 * size
    camera = Camera(focal, focal, (size - 1) / 2, (size - 1) / 2, size, size)
    pictures = []
    for _ in range(count):
        shown = [objects[i] for i in rng.permutation(len(objects))[:6]]
        poses = [
            make_transform(random_rotation(rng), one.diameter * rng.uniform([-2, -2, 5], [2, 2, 9]))
            for one in shown
        ]
        rendering = renderer.render([one.object_id for one in shown], poses, camera)
        picture = generated_texture(rng, size, size)
        seen = rendering.instance >= 0
        picture[seen] = shade(rendering, camera)[seen]
        pictures.append(picture)
    return pictures


def _settings(
    run: Path, network: YoloV10, notes: Mapping[str, Any], threshold: float, int8: bool
) -> DetectorSettings:
    object_ids, training = notes.get("object_ids", []), notes.get("train", {})
    if len(object_ids) != network.config.n_classes:
        raise CheckpointError(
            f"{run} names {len(object_ids)} objects for {network.config.n_classes} classes"
        )
    return DetectorSettings(
        object_ids=object_ids,
        image_sizes=[image_size_of(training)],
        threshold=threshold,
        weights="int8" if int8 else "float16",
        network=asdict(network.config),
        training=training,
        samples=notes.get("samples"),
        datasets=notes.get("datasets", []),
        machine=str(notes.get("machine", "")),
    )


def image_size_of(training: Mapping[str, Any]) -> int:
    """Return the longer side of images at which objects have the size that training showed most.

    Training may look at windows of frames: of 320 px, in which a whole frame would take 640.
    """
    low, high = training.get("sample", {}).get("scale", (1.0, 1.0))
    size: int = training.get("image_size", 640)
    side = size * float(np.sqrt(low * high))
    return max(round(side / 32), 1) * 32
