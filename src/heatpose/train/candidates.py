"""How well a trained network finds each of its keypoints: what candidates are chosen by."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from heatpose.data.samples import SampleSource, SampleStream
from heatpose.evaluate.errors import add, add_s
from heatpose.geometry.arrays import Array
from heatpose.geometry.camera import Camera
from heatpose.look import MAX_ERROR
from heatpose.model.heatmaps import STRIDE, Keypoints, decode, keypoints_in_crop
from heatpose.model.network import KeypointNet, heatmaps_of
from heatpose.objects.catalogue import ObjectModel
from heatpose.objects.design import CandidateViews, view_candidates
from heatpose.objects.mesh import sample_surface
from heatpose.objects.precision import MeasuredViews, Precision, candidate_precision
from heatpose.solve.pnp import Correspondences, solve_pnp
from heatpose.train.labels import KeypointLabels
from heatpose.train.losses import choose_labelling
from heatpose.train.training import Batch

N_POINTS = 1000  # of the surface, that displacements are measured on
TOGETHER = 64  # views that are solved at once


@dataclass(frozen=True, eq=False)
class Sighting:
    """What a network found in one view of an object."""

    keypoints: Keypoints  # px of the crop
    truth: Array  # (n, 2), px of the crop; NaN outside of it
    camera: Camera  # that sees the crop
    camera_from_object: Array  # (4, 4), mm; of a symmetric object the one that the network saw


def measure_views(
    network: KeypointNet,
    maker: SampleSource,
    n_views: int,
    seed: int,
    *,
    batch_size: int = 32,
    workers: int = 0,
) -> list[list[Sighting]]:
    """Let a network look at rendered views of its objects, made as its training samples were.

    Args:
        network: in eval mode.
        maker: draws the views; its objects are those of the network, in the same order.
        n_views: of each object in the mean, for each view shows an object by chance.
        seed: of the views; another than that of training.
        batch_size: views that the network sees at once.
        workers: processes that draw views.

    Returns:
        For each object what was found in each of its views. Of the labellings of a symmetric
        object that one is the truth which the heatmaps find most likely, as in training.
    """
    stream = SampleStream(maker, n_views * len(maker.objects), seed)
    loader: DataLoader[Batch] = DataLoader(stream, batch_size=batch_size, num_workers=workers)
    labels = KeypointLabels(maker.objects)
    sightings: list[list[Sighting]] = [[] for _ in maker.objects]
    for batch in loader:
        for index, sighting in _look(network, labels, batch):
            sightings[index].append(sighting)
    return sightings


@torch.no_grad()
def _look(
    network: KeypointNet, labels: KeypointLabels, batch: Batch
) -> Iterable[tuple[int, Sighting]]:
    """Yield which object each crop of a batch shows, and what is found there."""
    crops = batch["crop"].permute(0, 3, 1, 2).float() / 255
    size = crops.shape[-1]
    index, matrices = batch["object_index"], batch["camera_matrix"]
    logits = network(crops, index, batch.get("depth"))
    truth, targets = labels(index, matrices, batch["camera_from_object"], size)
    chosen = choose_labelling(logits, truth)
    each = torch.arange(len(chosen))
    pixels = ((truth[each, chosen] + 0.5) * STRIDE - 0.5).numpy().astype(float)
    poses = targets.camera_from_object[each, chosen].numpy().astype(float)
    maps = heatmaps_of(logits).numpy()
    for i, matrix in enumerate(matrices.numpy().astype(float)):
        camera = Camera(matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], size, size)
        found = keypoints_in_crop(decode(maps[i]))
        yield int(index[i]), Sighting(found, pixels[i], camera, poses[i])


def precision_in(model: ObjectModel, sightings: Sequence[Sighting]) -> Precision:
    """Return how precise an object's keypoints are in the views they were looked for in."""
    measured = MeasuredViews(
        poses=np.stack([one.camera_from_object for one in sightings]),
        intrinsics=np.stack([one.camera.matrix for one in sightings]),
        errors=np.stack([one.keypoints.pixels - one.truth for one in sightings]),
    )
    return candidate_precision(model.keypoints, model.diameter, measured)


def candidate_views(
    model: ObjectModel, sightings: Sequence[Sighting], precisions: Array
) -> CandidateViews:
    """Return what an object's keypoints, with precisions (v, n, 2, 2), say of its pose."""
    rotations = np.stack([one.camera_from_object[:3, :3] for one in sightings])
    surface = _surface(model)
    return view_candidates(model.keypoints, surface, model.diameter, rotations, precisions)


def displacements(
    model: ObjectModel, sightings: Sequence[Sighting], chosen: NDArray[np.intp]
) -> Array:
    """Solve each view with some of the keypoints, as inference does.

    Returns:
        ADD, or ADD-S of symmetric objects, in diameters, (v,); infinite where there is no pose.
    """
    surface = _surface(model)
    distance = add if len(model.symmetries) == 1 else add_s
    matches = [_match(model, one, chosen) for one in sightings]
    size = sightings[0].camera.width
    found = []
    for first in range(0, len(matches), TOGETHER):
        found += solve_pnp(matches[first : first + TOGETHER], max_error=MAX_ERROR * size)
    return np.array(
        [
            distance(solution.camera_from_object, one.camera_from_object, surface) / model.diameter
            if solution
            else np.inf
            for solution, one in zip(found, sightings, strict=True)
        ]
    )


def _surface(model: ObjectModel) -> Array:
    return sample_surface(model.mesh, N_POINTS, np.random.default_rng(0))


def _match(model: ObjectModel, sighting: Sighting, chosen: NDArray[np.intp]) -> Correspondences:
    seen = sighting.keypoints
    return Correspondences(
        model.keypoints[chosen],
        seen.pixels[chosen],
        sighting.camera,
        seen.covariances[chosen],
        seen.confidences[chosen],
    )
