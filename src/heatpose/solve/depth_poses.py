"""Estimates of a picture, corrected by depth, searched for in it, or put onto what it shows."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from heatpose.geometry.arrays import Depth, Image, Mask
from heatpose.geometry.camera import Camera
from heatpose.render.raycast import Renderer
from heatpose.solve.depth import (
    AGAIN,
    STEPS,
    DepthFit,
    PosedObject,
    depth_agreement,
    depth_ratio,
    refine_with_depth,
)
from heatpose.solve.depth_search import DepthSearch
from heatpose.solve.depth_verdict import Case, agreeing_keypoints, judge, make_case
from heatpose.solve.standing import stand
from heatpose.solve.threads import in_threads
from heatpose.types import PoseEstimate

LOG = logging.getLogger(__name__)

# Depth that is so many times as far as the poses from colour say, or as near, is in another unit.
UNIT_RATIO = 4.0
# Share of a surface that may be measured farther away where the picture's pose is taken back.
MOST_CONTRADICTED = 0.05


def correct_with_depth(
    estimates: Sequence[PoseEstimate],
    depth: Depth,
    image: Image,
    camera: Camera,
    renderer: Renderer,
    threads: int = 1,
    search: DepthSearch | None = None,
    again: bool = False,
) -> list[PoseEstimate]:
    """Correct poses by measured depth; those that depth cannot help stay where they are.

    What depth says of the pose in the end is added to its evidence. Score, probability and the
    rest of the evidence stay those of the picture.

    Args:
        estimates: of one picture.
        depth: (h, w), mm along z, NaN where nothing was measured.
        image: the picture, (h, w, 3).
        camera: of picture and depth, without distortion.
        renderer: knows the objects.
        threads: that share them.
        search: looks for another pose where depth contradicts the picture's; None for corrections
            alone, which leave evidence as it is.
        again: depth has corrected these poses before: few steps are enough.
    """
    posed = [_posed(one) for one in estimates]
    steps = AGAIN if again else STEPS
    fits = refine_with_depth(posed, depth, camera, renderer, threads, steps)
    if not any(fits) and _is_other_unit(depth_ratio(posed, depth, camera, renderer)):
        return list(estimates)
    corrected = [
        _with_depth(one, fit)
        if fit is not None
        else replace(one, depth_agreement=depth_agreement(before, depth, camera, renderer))
        for one, before, fit in zip(estimates, posed, fits, strict=True)
    ]
    if search is None:
        return corrected

    def searched(one: PoseEstimate, before: PosedObject | None) -> PoseEstimate:
        model = search.objects[one.object_id]
        case = make_case(one, model, depth, image, camera)
        other = stand(_posed(one), model, depth, camera, renderer)
        if case is not None and other is None:
            verdict = judge(one.camera_from_object, case, renderer, colours=False)
            if verdict is None or verdict.doubtful:
                other = _back_and_down(before, case, depth, renderer) or search(case, before)
        if other is not None:
            agreement = depth_agreement(other, depth, camera, renderer)
            inliers = agreeing_keypoints(other.camera_from_object, one, model, camera)
            one = _with_another(one, other, agreement, inliers)
        return one if case is None else _with_evidence(one, case, renderer)

    before = [None if fit is None else one for one, fit in zip(posed, fits, strict=True)]
    pairs = list(zip(corrected, before, strict=True))
    return in_threads(lambda pair: searched(*pair), pairs, threads)


def _back_and_down(
    before: PosedObject | None, case: Case, depth: Depth, renderer: Renderer
) -> PosedObject | None:
    """Take an object back to where the picture has it, and put it onto what it stands on.

    Depth may have pulled an object that it does not see to a thing that hides it. None where it
    does not stand there, or was measured to be elsewhere.
    """
    if before is None:
        return None
    stood = stand(before, case.model, depth, case.camera, renderer)
    verdict = stood and judge(stood.camera_from_object, case, renderer, colours=False)
    return stood if verdict and verdict.contradicted <= MOST_CONTRADICTED else None


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


def _with_evidence(estimate: PoseEstimate, case: Case, renderer: Renderer) -> PoseEstimate:
    """Add what depth says of a pose, where anything of it is in the picture to be seen."""
    if estimate.evidence is None:
        return estimate
    verdict = judge(estimate.camera_from_object, case, renderer, colours=False)
    if verdict is None:
        return estimate
    return replace(estimate, evidence=replace(estimate.evidence, depth=verdict.evidence))


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
