"""Measure what depth gives to poses: sensors, holes, noise, resolutions, filters, other solvers.

    python tools/measure_depth.py poses --bundle demo/lmo.heatpose --dataset clean \
        --depth structured-light=scenes/sl --depth stereo=scenes/stereo
    python tools/measure_depth.py perturbed --dataset ycbv

prints Markdown tables. ``poses`` takes colour poses of a bundle in the true boxes of a data set,
and the depth of it and of others with the same scenes (``heatpose synth`` with the same seed and
another --depth-sensor). ``perturbed`` moves true poses by 3 degrees, 4 mm and 3 % of the distance
(standard deviations; each object ten times) instead of finding them. Milliseconds are those of the
processor, for one object in one thread.
"""

import argparse
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from heatpose.data.bop import BopDataset
from heatpose.data.frames import frames_of_targets, with_true_boxes
from heatpose.data.images import read_depth
from heatpose.evaluate.errors import add, add_s, mssd
from heatpose.evaluate.latency import machine
from heatpose.evaluate.worse_depth import coarser, holey, noisy
from heatpose.geometry.arrays import Array, Depth
from heatpose.geometry.rotations import nearest_rotation, skew
from heatpose.geometry.transforms import make_transform, transform_points
from heatpose.objects.catalogue import ObjectModel, read_models
from heatpose.pipeline import PoseEstimator
from heatpose.render.raycast import Renderer
from heatpose.solve import depth as solver
from heatpose.solve import depth_view
from heatpose.types import PoseEstimate

TURN, SHIFT, ALONG = np.radians(3), 4.0, 0.03  # of perturbed poses
Ids = tuple[int, int]
Change = Callable[[np.random.Generator, Depth], Depth]


@dataclass(frozen=True, eq=False)
class Case:
    """An object that was found, and where it is."""

    ids: Ids  # scene and image
    found: solver.PosedObject
    truth: Array  # (4, 4), mm
    estimate: PoseEstimate | None = None


@dataclass(frozen=True, eq=False)
class World:
    """Cases, and what it takes to refine and to judge them."""

    cases: list[Case]
    dataset: BopDataset
    objects: dict[int, ObjectModel]
    renderer: Renderer


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["poses", "perturbed"])
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, default=Path("demo/lmo.heatpose"))
    parser.add_argument("--depth", action="append", default=[], metavar="NAME=DATASET")
    options = parser.parse_args()
    dataset = BopDataset(options.dataset)
    print(machine())
    if options.what == "perturbed":
        world = perturbed_world(dataset)
        table("perturbed true poses", world, {"depth": (dataset, as_it_is)})
        return
    world = colour_world(dataset, options.bundle)
    others = dict(pair.split("=", 1) for pair in options.depth)
    sensors = {name: BopDataset(place) for name, place in others.items()}
    rows = {"clean": (dataset, as_it_is)}
    table("sensors", world, rows | {name: (place, as_it_is) for name, place in sensors.items()})
    table("what else depth may be like", world, {n: (dataset, c) for n, c in WORSE.items()})
    for name, place in sensors.items():
        table(f"filters, {name}", world, {n: (place, c) for n, c in FILTERS.items()})
        table(f"no filter, {name}", world, {"no filter": (place, as_it_is)}, refine_unfiltered)
        lifted = {"keypoints lifted by depth": (place, as_it_is)}
        table(f"another solver, {name}", world, lifted, lift_keypoints)


def colour_world(dataset: BopDataset, bundle: Path) -> World:
    """Find the objects of a data set in their true boxes, by colour."""
    estimator = PoseEstimator.load(bundle, threads=1)
    estimator.detector = None
    frames = frames_of_targets(dataset, None, list(estimator.objects), known_only=True)
    cases = []
    for frame in with_true_boxes(frames, dataset):
        for one in frame.choose_poses(estimator(frame.read(), frame.detections)):
            found = solver.PosedObject(one.object_id, one.camera_from_object, one.covariance)
            truth = nearest_truth(dataset, frame.ids, found, estimator.objects[one.object_id])
            cases.append(Case(frame.ids, found, truth, one))
    return World(cases, dataset, estimator.objects, estimator.renderer)


def nearest_truth(
    dataset: BopDataset, ids: Ids, found: solver.PosedObject, model: ObjectModel
) -> Array:
    """Return the true pose of an object's kind that is nearest to where it was found."""
    pose = found.camera_from_object
    truths = [t for i, t in dataset.ground_truth(*ids) if i == found.object_id]
    return min(truths, key=lambda t: mssd(pose, t, model.mesh.vertices[::5], model.symmetries))


def perturbed_world(dataset: BopDataset, times: int = 10) -> World:
    """Move the true poses of a data set, those of objects that are half seen at least."""
    objects = read_models(dataset.models_folder(), n_keypoints=4)
    rng, cases = np.random.default_rng(0), []
    for scene_id in dataset.scene_ids():
        for image_id in dataset.image_ids(scene_id):
            for object_id, given in dataset.ground_truth(scene_id, image_id):
                truth = make_transform(nearest_rotation(given[:3, :3]), given[:3, 3])
                for _ in range(times):
                    change = rng.normal(0, np.repeat([TURN, SHIFT], 3))
                    pose = solver.perturbed(truth, change)
                    pose[:3, 3] *= 1 + rng.normal(0, ALONG)
                    found = solver.PosedObject(object_id, pose, covariance_of_change(pose))
                    cases.append(Case((scene_id, image_id), found, truth))
    meshes = {i: one.mesh for i, one in objects.items()}
    return World(cases, dataset, objects, Renderer(meshes))


def covariance_of_change(pose: Array) -> Array:
    """Return the covariance of how poses are perturbed, (6, 6), without the solver's own scale."""
    distance = np.linalg.norm(pose[:3, 3])
    ray = pose[:3, 3] / distance
    own = np.diag(np.repeat([TURN**2, SHIFT**2], 3))
    own[3:, 3:] += (ALONG * distance) ** 2 * np.outer(ray, ray)
    left_from_own = np.eye(6)
    left_from_own[3:, :3] = skew(pose[:3, 3])
    return left_from_own @ own @ left_from_own.T / solver.PRIOR_SCALE**2


def table(
    title: str,
    world: World,
    rows: dict[str, tuple[BopDataset, Change]],
    solve: Callable[[World, Case, Depth], Array | None] | None = None,
) -> None:
    """Print a Markdown table with one row for each way of making depth."""
    print(f"\n{title}: {len(world.cases)} poses\n")
    print("| | AR_MSSD | ADD(-S) 0.1 d | 0.05 d | 0.02 d | MSSD, mm | ADD(-S), mm | refined | ms |")
    print("|---|---|---|---|---|---|---|---|---|")
    print(row("colour alone", judged(world, [c.found.camera_from_object for c in world.cases])))
    for name, (dataset, change) in rows.items():
        poses, milliseconds, n_fits = [], [], 0
        for case in world.cases:
            depth = depth_of(dataset, case.ids, change)
            start = time.process_time()
            pose = (solve or refine)(world, case, depth)
            milliseconds.append(1e3 * (time.process_time() - start))
            n_fits += pose is not None
            poses.append(case.found.camera_from_object if pose is None else pose)
        share, median = n_fits / len(poses), np.median(milliseconds)
        print(row(name, judged(world, poses)) + f" {share:.2f} | {median:.1f} |", flush=True)


def refine(world: World, case: Case, depth: Depth) -> Array | None:
    """Refine a pose as the pipeline does."""
    camera = world.dataset.camera(*case.ids)
    [fit] = solver.refine_with_depth([case.found], depth, camera, world.renderer)
    return None if fit is None else fit.camera_from_object


def refine_unfiltered(world: World, case: Case, depth: Depth) -> Array | None:
    """Refine a pose with the depth as it was measured."""
    filtered = depth_view._smoothed
    depth_view._smoothed = lambda part: part
    try:
        return refine(world, case, depth)
    finally:
        depth_view._smoothed = filtered


def judged(world: World, poses: list[Array]) -> Array:
    """Return MSSD and ADD(-S) in mm, and over the diameter, of each pose, (n, 4)."""
    errors = []
    for case, pose in zip(world.cases, poses, strict=True):
        model = world.objects[case.found.object_id]
        points = model.mesh.vertices[:: max(1, len(model.mesh.vertices) // 2000)]
        # Which objects of YCB-Video are symmetric is not said: ADD-S for all where poses are moved.
        distance = add_s if len(model.symmetries) > 1 or case.estimate is None else add
        far = mssd(pose, case.truth, points, model.symmetries)
        mean = distance(pose, case.truth, points)
        errors.append([far, mean, far / model.diameter, mean / model.diameter])
    return np.array(errors)


def row(name: str, errors: Array) -> str:
    """Return the beginning of a row of the table."""
    recalls = [np.mean(errors[:, 2, None] < np.arange(0.05, 0.51, 0.05))]
    recalls += [np.mean(errors[:, 3] < share) for share in (0.1, 0.05, 0.02)]
    cells = " | ".join(f"{100 * value:.1f}" for value in recalls)
    medians = " | ".join(f"{value:.1f}" for value in np.median(errors[:, :2], axis=0))
    return f"| {name} | {cells} | {medians} |"


@functools.lru_cache(maxsize=4)
def read(dataset: BopDataset, ids: Ids) -> Depth:
    """Read the depth image of an image."""
    path = dataset.depth_path(*ids)
    assert path is not None
    return read_depth(path, dataset.frame_camera(*ids).depth_scale)


@functools.lru_cache(maxsize=4)
def depth_of(dataset: BopDataset, ids: Ids, change: Change) -> Depth:
    """Return the depth of an image after a change, the same one each time."""
    return change(np.random.default_rng(ids), read(dataset, ids))


def as_it_is(rng: np.random.Generator, depth: Depth) -> Depth:
    """Change nothing."""
    return depth


def shifted(rng: np.random.Generator, depth: Depth, by: float) -> Depth:
    """Measure everything so much too far, mm."""
    return depth + np.float32(by)


WORSE: dict[str, Change] = {
    "noise of 3 mm": functools.partial(noisy, sigma=3),
    "noise of 10 mm": functools.partial(noisy, sigma=10),
    "half of it holes of 10 px": functools.partial(holey, share=0.5),
    "nine tenths holes of 10 px": functools.partial(holey, share=0.9),
    "half the resolution": functools.partial(coarser, more=1),
    "a quarter of the resolution": functools.partial(coarser, more=3),
    "an eighth of the resolution": functools.partial(coarser, more=7),
    "5 mm too far": functools.partial(shifted, by=5),
    "20 mm too far": functools.partial(shifted, by=20),
}


def without_edges(rng: np.random.Generator, depth: Depth) -> Depth:
    """Leave out pixels beside jumps of 2 % (flying pixels: Sarbolandi et al., CVIU 2015)."""
    far = cv2.dilate(np.nan_to_num(depth, nan=-1), np.ones((3, 3), np.uint8))
    near = cv2.erode(np.nan_to_num(depth, nan=1e6), np.ones((3, 3), np.uint8))
    return np.where(far - near > 0.02 * near, np.float32(np.nan), depth)


def without_flying(rng: np.random.Generator, depth: Depth) -> Depth:
    """Leave out pixels 1 % behind one neighbour and before the opposite one."""
    flying = np.zeros(depth.shape, bool)
    for axis in (0, 1):
        ahead, back = np.roll(depth, 1, axis) - depth, depth - np.roll(depth, -1, axis)
        flying |= (np.minimum(ahead, back) > 0.01 * depth) | (
            np.maximum(ahead, back) < -0.01 * depth
        )
    return np.where(flying, np.float32(np.nan), depth)


def filled(rng: np.random.Generator, depth: Depth) -> Depth:
    """Give holes the median of what was measured beside them."""
    rows, cols = np.nonzero(np.isnan(depth))
    padded = np.pad(depth, 1, constant_values=np.nan)
    around = np.stack([padded[rows + i, cols + j] for i in range(3) for j in range(3)])
    known = np.isfinite(around).any(axis=0)
    full = depth.copy()
    full[rows[known], cols[known]] = np.nanmedian(around[:, known], axis=0)
    return full


def median(rng: np.random.Generator, depth: Depth) -> Depth:
    """Take medians of 5 x 5 px."""
    middle = cv2.medianBlur(np.nan_to_num(depth), 5)
    return np.where(np.isnan(depth) | (middle == 0), np.float32(np.nan), middle)


FILTERS: dict[str, Change] = {
    "bilateral, as released": as_it_is,
    "and without pixels at edges": without_edges,
    "and without flying pixels": without_flying,
    "and holes filled": filled,
    "and medians of 5 px": median,
}


def lift_keypoints(world: World, case: Case, depth: Depth) -> Array | None:
    """Solve 3-D to 3-D: keypoints lifted by depth, RANSAC, weighted least squares.

    Triples of keypoints (Fischler and Bolles 1981), each fitted in closed form (Umeyama 1991).
    """
    one = case.estimate
    assert one is not None
    camera, points = world.dataset.camera(*case.ids), world.objects[one.object_id].keypoints
    cols, rows = np.rint(np.nan_to_num(one.keypoints, nan=-1)).astype(int).T
    inside = (cols >= 0) & (rows >= 0) & (cols < camera.width) & (rows < camera.height)
    measured = np.where(inside, depth[rows * inside, cols * inside], np.nan)
    there = np.flatnonzero(np.isfinite(measured))
    if len(there) < 4:
        return None
    lifted, points = camera.unproject(one.keypoints[there], measured[there]), points[there]
    spreads = np.ones(len(there)) if one.keypoint_spreads is None else one.keypoint_spreads[there]
    rng, limit = np.random.default_rng(0), 0.1 * world.objects[one.object_id].diameter
    best, most = None, 3
    for _ in range(100):
        chosen = rng.choice(len(there), 3, replace=False)
        pose = rigid(points[chosen], lifted[chosen], np.ones(3))
        near = np.linalg.norm(transform_points(pose, points) - lifted, axis=1) < limit
        if near.sum() > most:
            best, most = near, near.sum()
    return None if best is None else rigid(points[best], lifted[best], spreads[best] ** -2)


def rigid(points: Array, lifted: Array, weights: Array) -> Array:
    """Return the pose (4, 4) that takes points (n, 3) nearest to others (Kabsch, Umeyama)."""
    weights = weights / weights.sum()
    middle, lifted_middle = weights @ points, weights @ lifted
    rotation = nearest_rotation((lifted - lifted_middle).T * weights @ (points - middle))
    return make_transform(rotation, lifted_middle - rotation @ middle)


if __name__ == "__main__":
    main()
