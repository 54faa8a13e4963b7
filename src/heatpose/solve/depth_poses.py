"""Estimates of a picture, corrected by depth, searched for in it, or put onto what it shows."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from heatpose.geometry.arrays import Depth, Image, Mask
from heatpose.geometry.camera import Camera
from heatpose.render.raycast import Renderer
from heatpose.solve.depth import (
    DepthFit,
    PosedObject,
    depth_agreement,
    depth_ratio,
    refine_with_depth,
)
from heatpose.solve.depth_search import DepthSearch
from heatpose.solve.depth_verdict import agreeing_keypoints
from heatpose.solve.standing import stand
from heatpose.types import PoseEstimate

LOG = logging.getLogger(__name__)

# Depth that is so many times as far as the poses from colour say, or as near, is in another unit.
UNIT_RATIO = 4.0


def correct_with_depth(
    estimates: Sequence[PoseEstimate],
    depth: Depth,
    image: Image,
    camera: Camera,
    renderer: Renderer,
    threads: int = 1,
    search: DepthSearch | None = None,
) -> list[PoseEstimate]:
    """Correct poses by measured depth; those that depth cannot help stay where they are.

    Score, evidence and probability stay those of the picture, by which they were learned.

    Args:
        estimates: of one picture.
        depth: (h, w), mm along z, NaN where nothing was measured.
        image: the picture, (h, w, 3).
        camera: of picture and depth, without distortion.
        renderer: knows the objects.
        threads: that share them.
        search: looks for another pose where depth contradicts the picture's; None for corrections
            alone.
    """
    objects = [_posed(one) for one in estimates]
    fits = refine_with_depth(objects, depth, camera, renderer, threads)
    if not any(fits) and _is_other_unit(depth_ratio(objects, depth, camera, renderer)):
        return list(estimates)
    corrected = [
        _with_depth(one, fit)
        if fit is not None
        else replace(one, depth_agreement=depth_agreement(posed, depth, camera, renderer))
        for one, posed, fit in zip(estimates, objects, fits, strict=True)
    ]
    if search is None:
        return corrected

    def another(one: PoseEstimate, before: PosedObject | None) -> PosedObject | None:
        found = search(one, depth, image, camera, before)
        return found or stand(_posed(one), search.objects[one.object_id], depth, camera, renderer)

    before = [None if fit is None else one for one, fit in zip(objects, fits, strict=True)]
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(another, corrected, before))
    for i, (one, other) in enumerate(zip(corrected, found, strict=True)):
        if other is not None:
            agreement = depth_agreement(other, depth, camera, renderer)
            model = search.objects[one.object_id]
            inliers = agreeing_keypoints(other.camera_from_object, one, model, camera)
            corrected[i] = _with_another(one, other, agreement, inliers)
    return corrected


def _posed(estimate: PoseEstimate) -> PosedObject:
    return PosedObject(estimate.object_id, estimate.camera_from_object, estimate.covariance)


def _with_depth(estimate: PoseEstimate, fit: DepthFit) -> PoseEstimate:
    return replace(
        estimate,
        camera_from_object=fit.camera_from_object,
        covariance=fit.covariance,
        depth_agreement=fit.agreement,
    )


def _with_another(
    estimate: PoseEstimate, found: PosedObject, agreement: float | None, inliers: Mask
) -> PoseEstimate:
    """Put another pose in the place of an estimate's; other keypoints (k,) support it."""
    return replace(
        estimate,
        camera_from_object=found.camera_from_object,
        covariance=found.covariance,
        depth_agreement=agreement,
        inliers=inliers,
    )


def _is_other_unit(ratio: float | None) -> bool:
    """Say, and warn, where depth is so far from what poses say that its unit must be another."""
    if ratio is None or 1 / UNIT_RATIO < ratio < UNIT_RATIO:
        return False
    LOG.warning(
        "depth is %.3g times what the poses from colour say, so it is not used: is its scale "
        "right, and is it in mm?",
        ratio,
    )
    return True
