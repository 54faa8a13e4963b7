"""Whether probabilities and regions mean what they say: learned and checked on known poses."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatpose.data.bop import BopDataset
from heatpose.data.frames import Frame
from heatpose.errors import DataError
from heatpose.evaluate.errors import mssd
from heatpose.evaluate.scores import Reference, read_references
from heatpose.geometry.arrays import Array, Mask
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import transform_points
from heatpose.pipeline import PoseEstimator
from heatpose.solve.probability import LEVELS, RIGHT, Calibration, fit_calibration
from heatpose.types import Evidence, PoseEstimate

N_BINS = 10
N_FOLDS = 5  # each is checked by what the other four teach


@dataclass(frozen=True, eq=False)
class KnownPoses:
    """Estimates on images whose truth is known."""

    groups: NDArray[np.int64]  # of which scene, or image where there is one scene only, (n,)
    evidence: tuple[Evidence, ...]
    scores: Array  # (n,)
    right: Mask  # (n,)
    errors: Array  # of keypoints, (n, k), px; NaN where the object is not where it was looked for
    spreads: Array  # of keypoints, (n, k), px

    def only(self, chosen: Mask) -> "KnownPoses":
        """Return some of them."""
        return KnownPoses(
            groups=self.groups[chosen],
            evidence=tuple(one for one, keep in zip(self.evidence, chosen, strict=True) if keep),
            scores=self.scores[chosen],
            right=self.right[chosen],
            errors=self.errors[chosen],
            spreads=self.spreads[chosen],
        )


@dataclass(frozen=True)
class Bin:
    """Poses whose probabilities are alike."""

    count: int
    probability: float  # mean
    right: float  # share


@dataclass(frozen=True, eq=False)
class RiskCurves:
    """The share of wrong ones among the n poses that come first, for n = 1, 2, ..., each (n,)."""

    by_probability: Array
    by_score: Array
    at_best: Array  # all right ones first: no order can do better


@dataclass(frozen=True)
class Reliability:
    """How far probabilities and regions can be trusted."""

    n_poses: int
    n_right: int
    bins: tuple[Bin, ...]  # of a tenth each, those that hold poses
    calibration_error: float  # expected: mean distance of probability and share, over the bins
    curves: RiskCurves
    coverage: tuple[float, ...]  # share of keypoints in their regions, for each of LEVELS


def known_poses(
    estimator: PoseEstimator,
    frames: Sequence[Frame],
    dataset: BopDataset,
    progress: Callable[[Sequence[Frame]], Iterable[Frame]] = iter,
) -> KnownPoses:
    """Estimate poses in images whose truth is known, and compare.

    Args:
        estimator: its detector is asked where frames come without detections. Where it looks for
            tables, only poses in images that have enough objects for one are taken.
        frames: images of the data set, with depth all of them or none.
        dataset: with the truth.
        progress: gets the frames and hands them on one by one.

    Raises:
        DataError: nothing is found in any of them, or depth, or tables, had no say in what is.
    """
    # A bundle may know more objects than the data set shows.
    shown = set(estimator.objects).intersection(dataset.models_info())
    references = read_references(dataset, shown)
    several = len({frame.scene_id for frame in frames}) > 1
    estimates: list[tuple[Frame, PoseEstimate]] = []
    right: list[bool] = []
    errors: list[Array] = []
    unlike = 0
    on_tables = estimator.effort.table and all(frame.depth is None for frame in frames)
    for frame in progress(frames):
        observation = frame.read()
        given = frame.detections
        found = tuple(estimator.detect(observation)) if given is None else given
        posed = estimator(observation, frame.look_at(found), frame.wanted)
        for one in frame.choose_poses(posed):
            if not _is_like_others(one, frame, on_tables):
                unlike += 1
                continue
            is_right, wrong_by = _compare(one, frame, dataset, references, estimator)
            estimates.append((frame, one))
            right.append(is_right)
            errors.append(wrong_by)
    if not estimates:
        images = f"{len(frames)} images of {dataset.root}"
        raise DataError(_why_there_are_none(unlike, images, on_tables))
    return KnownPoses(
        groups=np.array([f.scene_id if several else f.image_id for f, _ in estimates]),
        evidence=tuple(one.evidence for _, one in estimates if one.evidence is not None),
        scores=np.array([one.score for _, one in estimates]),
        right=np.array(right),
        errors=np.stack(errors),
        spreads=np.stack(
            [one.keypoint_spreads for _, one in estimates if one.keypoint_spreads is not None]
        ),
    )


def _why_there_are_none(unlike: int, images: str, on_tables: bool) -> str:
    if not unlike:
        return f"no pose was found in {images}"
    if on_tables:
        return (
            f"none of {images} shows enough objects to look for a plane that they stand on: "
            f"{unlike} poses were found"
        )
    return (
        f"depth had no say in any of the {unlike} poses found in {images}: is it missing, or in "
        "another unit than its scale says?"
    )


def _is_like_others(one: PoseEstimate, frame: Frame, on_tables: bool) -> bool:
    """Say whether a pose has evidence of its depth if there is any, and of its table if asked."""
    if one.evidence is None or (one.evidence.depth is None) != (frame.depth is None):
        return False
    return (one.evidence.standing is None) != on_tables


def _compare(
    estimate: PoseEstimate,
    frame: Frame,
    dataset: BopDataset,
    references: dict[int, Reference],
    estimator: PoseEstimator,
) -> tuple[bool, Array]:
    """Say whether a pose is right, and how far keypoints (k,) are off, px."""
    reference = references[estimate.object_id]
    truths = [
        truth.camera_from_object
        for truth in dataset.ground_truth(*frame.ids)
        if truth.object_id == estimate.object_id
    ]
    found, points = estimate.camera_from_object, reference.mesh.vertices
    distances = [mssd(found, truth, points, reference.symmetries) for truth in truths]
    right = min(distances, default=np.inf) < RIGHT * reference.diameter
    camera = frame.camera.ideal
    here = [truth for truth in truths if _lies_in(camera, truth, estimate)]
    unknown = np.full(len(estimate.keypoints), np.nan)
    if not here:
        return right, unknown
    model = estimator.objects[estimate.object_id]
    alike = np.concatenate([truth @ reference.symmetries for truth in here])
    seen = camera.project(transform_points(alike, model.keypoints))  # (m, k, 2)
    errors = np.linalg.norm(seen - estimate.keypoints, axis=2)
    nearest: Array = errors[int(np.median(np.nan_to_num(errors, nan=1e9), axis=1).argmin())]
    return right, nearest


def _lies_in(camera: Camera, truth: Array, estimate: PoseEstimate) -> bool:
    """Say whether the middle of an object in its true pose is in the box of an estimate."""
    left, top, right, bottom = estimate.box
    x, y = camera.project(truth[:3, 3])
    return bool(left <= x <= right and top <= y <= bottom)


def learn(poses: KnownPoses) -> Calibration:
    """Learn a calibration.

    Raises:
        DataError: there is too little to learn from.
    """
    try:
        return fit_calibration(
            poses.evidence, poses.right, poses.errors.ravel(), poses.spreads.ravel()
        )
    except ValueError as error:
        raise DataError(f"cannot calibrate: {error}") from None


def learn_and_check(poses: KnownPoses) -> tuple[Calibration, Reliability]:
    """Learn from all poses; and check each fifth of the groups by what the others teach.

    Raises:
        DataError: there is too little to learn from.
    """
    groups = np.unique(poses.groups)
    if len(groups) < 2:
        raise DataError("cannot calibrate: all poses are of one image")
    probabilities = np.empty(len(poses.right))
    radii = np.empty((len(poses.right), len(LEVELS)))
    n_folds = min(N_FOLDS, len(groups))
    for fold in range(n_folds):
        checked = np.isin(poses.groups, groups[fold::n_folds])
        calibration = learn(poses.only(~checked))
        probabilities[checked] = _probabilities(calibration, poses.only(checked))
        radii[checked] = calibration.radii
    return learn(poses), _reliability(poses, probabilities, radii)


def check(calibration: Calibration, poses: KnownPoses) -> Reliability:
    """Compare probabilities and regions with what is true."""
    radii = np.tile(calibration.radii, (len(poses.right), 1))
    return _reliability(poses, _probabilities(calibration, poses), radii)


def _probabilities(calibration: Calibration, poses: KnownPoses) -> Array:
    return np.array([calibration.probability(one) for one in poses.evidence])


def _reliability(poses: KnownPoses, probabilities: Array, radii: Array) -> Reliability:
    """Compare what was said of n poses with what is true.

    Args:
        poses: with the truth.
        probabilities: that they are right, (n,).
        radii: of the regions of their keypoints for each of LEVELS, in spreads, (n, levels).
    """
    right = poses.right.astype(float)
    place = np.minimum((probabilities * N_BINS).astype(int), N_BINS - 1)
    bins = tuple(
        Bin(
            count=int((place == i).sum()),
            probability=float(probabilities[place == i].mean()),
            right=float(right[place == i].mean()),
        )
        for i in np.unique(place)
    )
    apart = sum(abs(one.probability - one.right) * one.count for one in bins)
    there = np.isfinite(poses.errors) & np.isfinite(poses.spreads)
    within = poses.errors[..., None] <= radii[:, None] * poses.spreads[..., None]
    return Reliability(
        n_poses=len(right),
        n_right=int(right.sum()),
        bins=bins,
        calibration_error=apart / len(right),
        curves=RiskCurves(
            by_probability=risk_curve(probabilities, right),
            by_score=risk_curve(poses.scores, right),
            at_best=risk_curve(right, right),
        ),
        coverage=tuple(float(within[there, i].mean()) for i in range(len(LEVELS)))
        if there.any()
        else (np.nan,) * len(LEVELS),
    )


def risk_curve(order: Array, right: Array) -> Array:
    """Return the share of wrong ones among the n that come first, for n = 1, 2, ..., (n,).

    Its mean is the area under the curve of risk over coverage.

    Args:
        order: what is largest comes first, (n,).
        right: 1 for what is right, 0 for what is wrong, (n,).
    """
    wrong = 1 - right[np.argsort(-order, kind="stable")]
    curve: Array = np.cumsum(wrong) / np.arange(1, len(wrong) + 1)
    return curve


def described(reliability: Reliability) -> str:
    """Say in a few lines what was found."""
    covered = ", ".join(
        f"{level:.0%} regions cover {share:.1%}"
        for level, share in zip(LEVELS, reliability.coverage, strict=True)
    )
    curves = reliability.curves
    return (
        f"{reliability.n_right} of {reliability.n_poses} poses right; expected calibration error "
        f"{reliability.calibration_error:.3f}; area under risk and coverage "
        f"{curves.by_probability.mean():.3f} (by score {curves.by_score.mean():.3f}, at best "
        f"{curves.at_best.mean():.3f}); "
        f"keypoints: {covered}"
    )
