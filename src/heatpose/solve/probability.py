"""How likely a pose is right, from what speaks for it: learned once, on poses that can be checked.

Right means that no point of the object is farther than a tenth of its diameter from where it
should be, in the best of its symmetries (MSSD of BOP). The probability is a logistic function of
the evidence (Platt, 1999), so that six numbers and a constant are all that is learned, one more
where objects stand on one plane, and five more where depth had its say. How far a keypoint may be
off is told by split conformal prediction (Vovk et al., 2005; for keypoints: Yang and Pavone, CVPR
2023, arXiv 2303.12246): circles whose radii are multiples of the spread of the heatmap's peak, so
wide that the asked share of keypoints that can be checked lies inside.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace

import numpy as np
from scipy.optimize import minimize

from heatpose.geometry.arrays import Array, Mask
from heatpose.geometry.rotations import skew
from heatpose.geometry.transforms import transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.solve.outline import REACHES, OutlineFit
from heatpose.types import DepthEvidence, Effort, Evidence, PoseEstimate

RIGHT = 0.1  # MSSD below which a pose is right, in diameters
LEVELS = (0.8, 0.9, 0.95)  # shares of keypoints that regions are told for
RIDGE = 0.01  # holds weights of evidence that says little near zero
TERMS = tuple(f.name for f in fields(Evidence) if f.name not in ("standing", "depth"))
DEPTH_TERMS = tuple(field.name for field in fields(DepthEvidence))


@dataclass(frozen=True)
class Calibration:
    """What turns evidence into a probability, and spreads of keypoints into regions."""

    weights: tuple[float, ...]  # of TERMS, then of standing or DEPTH_TERMS, as `_terms` has them
    constant: float
    radii: tuple[float, ...]  # of the regions for each of LEVELS, in spreads of a keypoint
    looks: int = 1  # at each object in a pass, and passes in which the poses were found that it
    passes: int = 1  # was learned from: evidence found with more is better than it seems
    outline: bool = True  # whether outlines had corrected these poses
    depth: bool = False  # whether depth had
    table: bool = False  # whether objects that stand on one plane were put onto it

    def __post_init__(self) -> None:
        if self.depth and self.table:
            raise ValueError("a calibration is of poses with depth or of those on tables, not both")
        count = len(TERMS) + len(DEPTH_TERMS) * self.depth + self.table
        if len(self.weights) != count or len(self.radii) != len(LEVELS):
            raise ValueError(
                f"a calibration {'with' if self.depth else 'without'} depth"
                f"{', of poses on tables,' * self.table} has {count} weights "
                f"and {len(LEVELS)} radii, got {len(self.weights)} and {len(self.radii)}"
            )

    @property
    def way(self) -> tuple[int, int, bool, bool, bool]:
        """How the poses were found that it was learned from: looks, passes, outlines, ..."""
        return self.looks, self.passes, self.outline, self.depth, self.table

    def probability(self, evidence: Evidence) -> float:
        """Return how likely a pose with this evidence, of all that it wants, is right."""
        terms = _terms([evidence], self.depth, self.table)
        return float(_logistic(terms @ self.weights + self.constant)[0])


def nearest_calibration(
    calibrations: Sequence[Calibration],
    effort: Effort,
    *,
    depth: bool = False,
    table: bool = False,
) -> Calibration | None:
    """Return that of poses found most alike: with as many crops of each object, or nearly so.

    Of two that are as far away, the first. What was learned with outlines, with depth, or on
    tables, says nothing of poses without, nor the other way round.
    """
    crops = effort.looks * effort.passes
    wanted = effort.outline, depth, table
    alike = [one for one in calibrations if (one.outline, one.depth, one.table) == wanted]

    def ratio(one: Calibration) -> float:
        own = one.looks * one.passes
        return max(own, crops) / min(own, crops)

    return min(alike, key=ratio, default=None)


def with_probability(estimate: PoseEstimate, calibration: Calibration | None) -> PoseEstimate:
    """Say of a pose that depth or a table corrected how likely it is right, if that was learned."""
    evidence = estimate.evidence
    if calibration is None or evidence is None:
        return estimate
    if (evidence.depth if calibration.depth else evidence.standing) is None:
        return estimate
    return replace(estimate, probability=calibration.probability(evidence))


def weigh(
    support: float,
    inliers: Mask,
    fit: OutlineFit | None,
    camera_from_object: Array,
    covariance: Array,
    model: ObjectModel,
) -> Evidence:
    """Gather what speaks for a pose.

    Args:
        support: mean confidence of all keypoints, those against the pose counted as 0.
        inliers: which of them agree with the pose, (k,).
        fit: of the outline; without one, the outline counts as one that says nothing.
        camera_from_object: the pose, (4, 4), mm.
        covariance: of its left perturbation, (6, 6), rad and mm.
        model: the object.
    """
    return Evidence(
        support=support,
        inliers=float(inliers.mean()),
        contrast=fit.contrast if fit else 0.0,
        offset=fit.offset if fit else float(REACHES[0][0]),
        open_share=fit.open_share if fit else 0.0,
        spread=spread_of(camera_from_object, covariance, model),
    )


def fit_calibration(
    evidence: Sequence[Evidence], right: Mask, errors: Array, spreads: Array
) -> Calibration:
    """Learn a calibration from poses and keypoints whose truth is known.

    Args:
        evidence: of n poses, with that of depth, or of tables, for all of them or for none.
        right: which of them are, (n,).
        errors: distances of keypoints from where they should be, (m,), px; NaN is left out.
        spreads: of these keypoints, (m,), px; NaN is left out.

    Raises:
        ValueError: all poses are right, or none is.
    """
    if right.all() or not right.any():
        raise ValueError(
            f"{np.count_nonzero(right)} of {len(right)} poses are right: nothing to learn"
        )
    depth = all(one.depth is not None for one in evidence)
    table = not depth and all(one.standing is not None for one in evidence)
    terms = _terms(evidence, depth, table)
    middle, scale = terms.mean(axis=0), terms.std(axis=0) + 1e-9
    rows = np.column_stack([(terms - middle) / scale, np.ones(len(terms))])
    signs = np.where(right, 1.0, -1.0)

    def loss(weights: Array) -> tuple[float, Array]:
        margins = signs * (rows @ weights)
        slope = -(signs * _logistic(-margins)) @ rows / len(rows)
        held = np.append(weights[:-1], 0.0)  # the constant is free
        return np.logaddexp(0, -margins).mean() + RIDGE * held @ held, slope + 2 * RIDGE * held

    found = minimize(loss, np.zeros(rows.shape[1]), jac=True, method="BFGS").x
    weights = found[:-1] / scale
    return Calibration(
        weights=tuple(weights.tolist()),
        constant=float(found[-1] - weights @ middle),
        radii=tuple(conformal_radius(errors, spreads, level) for level in LEVELS),
        depth=depth,
        table=table,
    )


def conformal_radius(errors: Array, spreads: Array, level: float) -> float:
    """Return the multiple of its spread within which a keypoint lies with a probability.

    The ceil((n + 1) level)-th smallest of n ratios: a further keypoint drawn like these has a
    smaller one with at least that probability, whatever their distribution.

    Args:
        errors: distances from the truth, (n,), px; NaN is left out.
        spreads: of the peaks, (n,), px; NaN is left out.
        level: the probability, in (0, 1).
    """
    ratios = errors / spreads
    ratios = np.sort(ratios[np.isfinite(ratios)])
    if not len(ratios):
        raise ValueError("there is no keypoint to learn from")
    rank = int(np.ceil((len(ratios) + 1) * level))
    return float(ratios[min(rank, len(ratios)) - 1])


def _terms(evidence: Sequence[Evidence], depth: bool, table: bool) -> Array:
    """Return the evidence on scales on which it adds up: ratios as their logarithms.

    Of n poses (n, 6), on tables (n, 7), with depth (n, 11).
    """
    support, inliers, contrast, offset, open_share, spread = np.array(
        [[getattr(one, name) for name in TERMS] for one in evidence], float
    ).T
    spread = np.where(np.isfinite(spread), np.clip(spread, 1e-4, 10.0), 10.0)
    logs = np.log(support + 1e-3), np.log(offset + 0.1), np.log(spread)
    terms = np.stack([logs[0], inliers, contrast, logs[1], open_share, logs[2]], axis=1)
    if table:
        standing = np.array([one.standing for one in evidence], float)
        return np.column_stack([terms, standing])
    if not depth:
        return terms
    with_depth = [astuple(one.depth) for one in evidence if one.depth is not None]
    return np.concatenate([terms, np.array(with_depth)], axis=1)


def spread_of(camera_from_object: Array, covariance: Array, model: ObjectModel) -> float:
    """Return how far keypoints are off by a covariance (6, 6), root mean square, in diameters."""
    seen = transform_points(camera_from_object, model.keypoints)
    # A left perturbation (w, v) moves a point x by w x x + v.
    slopes = np.zeros((len(seen), 3, 6))
    slopes[..., :3], slopes[..., 3:] = skew(-seen), np.eye(3)
    variance = float(np.vdot(slopes @ covariance, slopes)) / len(seen)
    if not np.isfinite(variance):
        return np.inf
    return float(np.sqrt(max(variance, 0.0))) / model.diameter


def _logistic(x: Array) -> Array:
    values: Array = 1 / (1 + np.exp(-np.clip(x, -60, 60)))
    return values
