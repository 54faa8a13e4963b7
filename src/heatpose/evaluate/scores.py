"""Scores of a results file on a BOP data set.

Every score lies in [0, 1] and is a mean over targets: a target without an estimate counts as 0
in each of them, and estimates of anything that is no target do not count. A target that asks for
n instances counts n times, as in BOP.

=================  ==============================================================================
ar_mssd            average recall at MSSD < 0.05, 0.10, ..., 0.50 diameters (BOP 2019)
ar_mspd            likewise at MSPD < 5, 10, ..., 50 px of an image 640 px wide
ar_vsd             likewise at VSD < 0.05, ..., 0.50 for each tau of 0.05, ..., 0.50 diameters,
                   delta 15 mm; None unless all images have depth
add_s_0.1d, ...    ADD(-S) < 0.1, 0.05, 0.02 diameters: ADD-S for objects with symmetries in
                   ``models_info.json``, ADD for the others
add_s_auc          area under the curve of recall over the limit of ADD(-S), 0 to 100 mm, over
                   100 mm. It is the exact area; YCB-Video's VOC-like sum is larger by up to
                   1 / targets
add_auc            likewise for ADD of every object
adi_auc            likewise for ADD-S of every object, as YCB-Video's authors have it
proj_5px           mean distance of projected points < 5 px, under the best symmetry
deg5_cm5           turned less than 5 degrees and moved less than 5 cm, under one symmetry
=================  ==============================================================================
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from heatpose.data.bop import BopDataset, GroundTruth, Result, Target
from heatpose.data.images import read_depth
from heatpose.errors import DataError, UnknownObjectError
from heatpose.evaluate.errors import add, add_s, mspd, mssd, projection_error, turn_and_shift, vsd
from heatpose.evaluate.matching import Key, group_results, match, recall, true_poses
from heatpose.geometry.arrays import Array, Depth
from heatpose.geometry.camera import Camera
from heatpose.objects.mesh import Mesh, read_mesh
from heatpose.objects.symmetry import symmetries_from_info
from heatpose.render.raycast import Renderer

log = logging.getLogger(__name__)

KEYS = (
    "ar_mssd",
    "ar_mspd",
    "ar_vsd",
    "add_s_0.1d",
    "add_s_0.05d",
    "add_s_0.02d",
    "add_s_auc",
    "add_auc",
    "adi_auc",
    "proj_5px",
    "deg5_cm5",
)
TENTHS = np.arange(1, 11) / 20  # 0.05, 0.10, ..., 0.50
AUC_LIMIT = 100.0  # mm

Progress = Callable[[Sequence[Target]], Iterable[Target]]


@dataclass(frozen=True, eq=False)
class Reference:
    """What estimates of one object are measured with."""

    mesh: Mesh
    symmetries: Array  # (m, 4, 4), the identity first
    diameter: float  # mm

    @cached_property
    def tree(self) -> KDTree:
        """Of the vertices, for the nearest one to a place."""
        return KDTree(self.mesh.vertices)

    @property
    def is_symmetric(self) -> bool:
        """Whether ADD-S stands in for ADD."""
        return len(self.symmetries) > 1


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The scores of each target."""

    object_ids: NDArray[np.int64]  # (n,)
    images: NDArray[np.int64]  # scene and image id, (n, 2)
    scores: dict[str, Array | None]  # (n,) for each of KEYS, in [0, 1]

    def mean(self, object_id: int | None = None) -> dict[str, float | None]:
        """Return the mean over the targets, or over those of one object."""
        chosen = np.full(len(self.object_ids), True)
        if object_id is not None:
            chosen = self.object_ids == object_id
        return {
            key: None if values is None else float(values[chosen].mean())
            for key, values in self.scores.items()
        }


def evaluate_results(
    dataset: BopDataset,
    results: Sequence[Result],
    progress: Progress = iter,
    *,
    with_vsd: bool = True,
) -> Evaluation:
    """Score results on the targets of a data set.

    Args:
        dataset: with ground truth; ``models_eval`` is used if it is there, else ``models``.
        results: estimates of any images and objects.
        progress: gets the targets and hands them on one by one.
        with_vsd: VSD renders each pose, which takes longer than all else.

    Raises:
        DataError: the data set lacks what this takes.
    """
    targets = dataset.targets()
    if not targets:
        raise DataError(f"{dataset.root / dataset.targets_file} names no targets")
    estimates = group_results(results)
    if not any(target[:3] in estimates for target in targets):
        log.warning("none of the %d poses is of a target of %s", len(results), dataset.root)
    judge = Judge(dataset, estimates, with_vsd)
    scores = [judge(target) for target in progress(targets)]
    each = [t for t, s in zip(targets, scores, strict=True) for _ in s[KEYS[0]]]
    return Evaluation(
        object_ids=np.array([target.object_id for target in each]),
        images=np.array([(target.scene_id, target.image_id) for target in each]),
        scores={
            key: np.concatenate([s[key] for s in scores]) if key in scores[0] else None
            for key in KEYS
        },
    )


class Judge:
    """Scores one target after the other; holds models, and the depth image they are held to."""

    def __init__(
        self, dataset: BopDataset, estimates: dict[Key, list[Result]], with_vsd: bool = True
    ) -> None:
        """Read the models of all targets."""
        targets = dataset.targets()
        self.dataset = dataset
        self.estimates = estimates
        self.references = read_references(dataset, {target.object_id for target in targets})
        self.has_depth = with_vsd and all(
            dataset.depth_path(t.scene_id, t.image_id) for t in targets
        )
        meshes = {object_id: r.mesh for object_id, r in self.references.items()}
        self.renderer = Renderer(meshes if self.has_depth else {})
        self._depth: tuple[tuple[int, int], Depth] | None = None

    def __call__(self, target: Target) -> dict[str, Array]:
        """Return the scores of each instance that the target asks for, (g,) per key."""
        truths = true_poses(self.dataset, target)
        found = self.estimates.get(target[:3], [])[: target.instances]
        reference = self.references[target.object_id]
        camera = self.dataset.camera(target.scene_id, target.image_id)
        scores = pose_scores(found, truths, reference, camera)
        if self.has_depth:
            scores["ar_vsd"] = self.vsd_score(target, found, truths, camera)
        return scores

    def vsd_score(
        self, target: Target, found: list[Result], truths: list[GroundTruth], camera: Camera
    ) -> Array:
        """Return the average recall of VSD for each true pose, (g,)."""
        taus = TENTHS * self.references[target.object_id].diameter
        errors = np.empty((len(taus), len(found), len(truths)))
        if found:
            measured = self.depth(target.scene_id, target.image_id)
            true = [self.render(target.object_id, t.camera_from_object, camera) for t in truths]
        for row, estimate in enumerate(found):
            estimated = self.render(target.object_id, estimate.camera_from_object, camera)
            for column in range(len(truths)):
                errors[:, row, column] = vsd(estimated, true[column], measured, camera, taus)
        mean: Array = np.mean([recall(per_tau, TENTHS) for per_tau in errors], axis=0)
        return mean

    def render(self, object_id: int, camera_from_object: Array, camera: Camera) -> Depth:
        """Return the depth of an object alone, (h, w), mm."""
        return self.renderer.depth(object_id, camera_from_object, camera)

    def depth(self, scene_id: int, image_id: int) -> Depth:
        """Return the measured depth of an image, (h, w), mm; the last one is kept."""
        key = (scene_id, image_id)
        if self._depth is None or self._depth[0] != key:
            path = self.dataset.depth_path(*key)
            assert path is not None  # has_depth
            depth = read_depth(path, self.dataset.frame_camera(*key).depth_scale)
            camera = self.dataset.camera(*key)
            if depth.shape != (camera.height, camera.width):
                raise DataError(
                    f"{path} is {depth.shape[1]} x {depth.shape[0]} px, but its camera says "
                    f"{camera.width} x {camera.height}"
                )
            self._depth = (key, depth)
        return self._depth[1]


def pose_scores(
    found: Sequence[Result], truths: Sequence[GroundTruth], reference: Reference, camera: Camera
) -> dict[str, Array]:
    """Return all scores but VSD's.

    Args:
        found: estimates, the highest score first.
        truths: the true poses.
        reference: the object.
        camera: of the image.

    Returns:
        For each key the scores of the true poses, (g,).
    """
    points, symmetries = reference.mesh.vertices, reference.symmetries
    estimates = [result.camera_from_object for result in found]

    def errors(error: Callable[[Array, Array], float]) -> Array:
        rows = [[error(e, t.camera_from_object) for t in truths] for e in estimates]
        return np.array(rows).reshape(len(estimates), len(truths))

    plain = errors(lambda e, t: add(e, t, points))
    nearest = errors(lambda e, t: add_s(e, t, points, reference.tree))
    fair = nearest if reference.is_symmetric else plain
    diameter = reference.diameter
    spatial = errors(lambda e, t: mssd(e, t, points, symmetries))
    projected = errors(lambda e, t: mspd(e, t, points, symmetries, camera))
    on_image = errors(lambda e, t: projection_error(e, t, points, symmetries, camera))
    return {
        "ar_mssd": recall(spatial, TENTHS * diameter),
        "ar_mspd": recall(projected, TENTHS * 100 * camera.width / 640),
        "add_s_0.1d": recall(fair, [0.1 * diameter]),
        "add_s_0.05d": recall(fair, [0.05 * diameter]),
        "add_s_0.02d": recall(fair, [0.02 * diameter]),
        "add_s_auc": _area_under_recall(fair),
        "add_auc": _area_under_recall(plain),
        "adi_auc": _area_under_recall(nearest),
        "proj_5px": recall(on_image, [5.0]),
        "deg5_cm5": recall(errors(lambda e, t: _deg5_cm5(e, t, symmetries)), [1.0]),
    }


def read_references(dataset: BopDataset, object_ids: Iterable[int]) -> dict[int, Reference]:
    """Read model, symmetries and diameter of objects."""
    infos = dataset.models_info()
    file = dataset.models_folder() / "models_info.json"
    references = {}
    for object_id in sorted(object_ids):
        if object_id not in infos:
            raise UnknownObjectError(f"object {object_id} is not one of {sorted(infos)} in {file}")
        try:
            symmetries = symmetries_from_info(infos[object_id])
        except DataError as error:
            raise DataError(f"{file}, object {object_id}: {error}") from None
        references[object_id] = Reference(
            mesh=read_mesh(dataset.model_path(object_id), "mm"),
            symmetries=symmetries,
            diameter=float(infos[object_id]["diameter"]),
        )
    return references


def _area_under_recall(errors: Array) -> Array:
    """Return the share of limits from 0 to 100 mm above the error of each true pose, (g,)."""
    return np.maximum(1 - match(errors, AUC_LIMIT) / AUC_LIMIT, 0.0)


def _deg5_cm5(estimate: Array, truth: Array, symmetries: Array) -> float:
    """Return the larger of turn over 5 degrees and shift over 5 cm, under the best symmetry."""
    turns, shifts = turn_and_shift(estimate, truth, symmetries)
    return float(np.maximum(turns / np.deg2rad(5), shifts / 50).min())
