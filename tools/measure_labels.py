"""Say how far outlines of poses lie from edges in the pictures: ground truth's, and others'.

    python tools/measure_labels.py LMO out/results.csv LMO/results_semantic-keypoints_lmo-test.csv

prints a Markdown table: the shift, right and down in px, that brings the silhouettes of objects of
which nothing is hidden onto the strongest edges across them, the mean over objects and where 95 %
of 2,000 draws of images have it. All are measured on the objects whose middle each of the results
has within 8 px of the ground truth's. No method can score better than its labels lie: where these
are off by as much as poses, exact poses lose.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from heatpose.data.bop import BopDataset
from heatpose.data.images import read_image
from heatpose.data.results import read_results
from heatpose.geometry.arrays import Array, Image, Mask
from heatpose.geometry.camera import Camera
from heatpose.objects.catalogue import read_models
from heatpose.render.raycast import Renderer

REACH = 8  # px, the largest shift that is looked for
WHOLE = 0.95  # of an object that must be visible
NEAR = 8.0  # px between middles of what is compared
LEAST = 30  # px of outline
BLUR = 1.0  # px, of pictures; silhouettes are smoothed 1.5 times as much for their normals
STRONGEST = 150.0  # a stronger edge says no more: it may be a highlight's
DRAWS = 2000

Floats = NDArray[np.float32]
Poses = Mapping[tuple[int, int, int], Array]  # (scene, image, object) -> camera_from_object


def edge_shift(gradients: tuple[Floats, Floats], silhouette: Mask) -> Array | None:
    """Return the shift (2,), px, that brings a silhouette (h, w) onto edges; None without any.

    Args:
        gradients: of the picture along x and y, (h, w, 3) each.
        silhouette: true where the object is.
    """
    outlines, _ = cv2.findContours(
        silhouette.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    pixels = max(outlines, key=len)[:, 0] if outlines else np.zeros((0, 2), int)
    limits = np.array(silhouette.shape[::-1]) - REACH
    pixels = pixels[((pixels >= REACH) & (pixels < limits)).all(axis=1)]
    if len(pixels) < LEAST:
        return None
    smooth = cv2.GaussianBlur(silhouette.astype(np.float32), (0, 0), 1.5 * BLUR)
    x, y = pixels.T
    normals = np.stack([cv2.Sobel(smooth, cv2.CV_32F, *axis)[y, x] for axis in ((1, 0), (0, 1))])
    normals /= np.maximum(np.linalg.norm(normals, axis=0), 1e-6)
    shifts = np.arange(-REACH, REACH + 1)
    strengths = np.zeros((len(shifts), len(shifts)))  # by shift down, then right
    for row, down in enumerate(shifts):
        for column, right in enumerate(shifts):
            place = y + down, x + right
            across = sum(
                gradient[place] * normal[:, None]
                for gradient, normal in zip(gradients, normals, strict=True)
            )
            edge = np.abs(across).max(axis=1)  # the channel that shows it best
            strengths[row, column] = np.minimum(edge, STRONGEST).mean()
    best = np.unravel_index(strengths.argmax(), strengths.shape)
    return np.array(shifts[[best[1], best[0]]], float)


def picture_gradients(image: Image) -> tuple[Floats, Floats]:
    """Return the gradients of a picture along x and y, (h, w, 3) each."""
    smooth = cv2.GaussianBlur(image, (0, 0), BLUR).astype(np.float32)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1)))
    return np.asarray(across, np.float32), np.asarray(down, np.float32)


def together(poses: Sequence[Array], camera: Camera) -> bool:
    """Say whether the middles of poses are near that of the first in the picture."""
    middles = camera.project(np.stack([pose[:3, 3] for pose in poses]))
    return bool((np.linalg.norm(middles - middles[0], axis=1) < NEAR).all())


def measure(dataset: BopDataset, given: Sequence[Poses]) -> tuple[Array, Array]:
    """Return the shifts (n, 1 + results, 2) of ground truth and results, and the image of each."""
    models = read_models(dataset.models_folder(), 8, "fps")
    renderer = Renderer({number: model.mesh for number, model in models.items()})
    shifts, images = [], []
    wanted = {(t.scene_id, t.image_id) for t in dataset.targets()}
    for key in track(sorted(wanted), "measuring"):
        camera = dataset.camera(*key)
        gradients = picture_gradients(read_image(dataset.image_path(*key)))
        for truth, seen in dataset.objects_seen(*key):
            others = [poses.get((*key, truth.object_id)) for poses in given]
            poses = [truth.camera_from_object, *[one for one in others if one is not None]]
            if seen.visible_fraction < WHOLE or len(poses) <= len(given):
                continue
            if not together(poses, camera):
                continue
            found = [
                edge_shift(gradients, np.isfinite(renderer.depth(truth.object_id, pose, camera)))
                for pose in poses
            ]
            if not any(shift is None for shift in found):
                shifts.append(found)
                images.append(key[1])
    return np.array(shifts, float), np.array(images)


def drawn_again(shifts: Array, images: Array) -> Array:
    """Return where 95 % of draws of images have the mean of shifts (n, 2): (2, 2)."""
    rng = np.random.default_rng(0)
    each = [shifts[images == image] for image in np.unique(images)]
    means = [
        np.concatenate([each[i] for i in rng.integers(len(each), size=len(each))]).mean(axis=0)
        for _ in range(DRAWS)
    ]
    interval: Array = np.percentile(means, [2.5, 97.5], axis=0)
    return interval


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description="How far outlines lie from edges.")
    parser.add_argument("dataset", type=Path, help="BOP data set")
    parser.add_argument("results", type=Path, nargs="*", help="BOP results.csv")
    parser.add_argument("--split", default="test")
    given = parser.parse_args()
    dataset = BopDataset(given.dataset, given.split)
    results = [
        {(r.scene_id, r.image_id, r.object_id): r.camera_from_object for r in read_results(path)}
        for path in given.results
    ]
    shifts, images = measure(dataset, results)
    if len(shifts) == 0:
        raise SystemExit(f"no object of {given.dataset} is wholly visible and in all results")
    print(f"{len(shifts)} objects in {len(np.unique(images))} images\n")
    print("| outlines of | right, px | down, px |\n|---|---|---|")
    names = ["ground truth", *map(str, given.results)]
    for name, own in zip(names, shifts.transpose(1, 0, 2), strict=True):
        numbers = np.stack([own.mean(axis=0), *drawn_again(own, images)]).T  # right, then down
        cells = [f"{mean:+.2f} ({low:+.2f} to {high:+.2f})" for mean, low, high in numbers]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
