"""Objects that stand on one plane say together how far away each of them is.

A picture tells well in which direction an object lies, and badly how far away. But most things
stand on a table or lie in a box, and several of them on one plane: the lowest point of each
touches it, and down is one of the few directions in which an object of its shape rests. So where
it lies follows from all of them, much better than from any one, and each object from where it
lies, as sure as its own picture leaves it.

Nothing is known of the plane before. Each object in each of its rests says where it would lie; the
one that most objects agree with is taken, and then moved together with all of them to where they
agree best. Objects that lie on others disagree and stay where they are, those that lean only touch
it, and where too few agree nothing moves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from heatpose.geometry.arrays import Array
from heatpose.geometry.directions import tangents
from heatpose.geometry.rotations import skew, vector_from_matrix
from heatpose.geometry.transforms import transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.objects.rests import Rests
from heatpose.solve.probability import spread_of
from heatpose.solve.refine import covariance_of, own_from_left, perturbed
from heatpose.types import PoseEstimate

FEWEST = 3  # objects that must agree on a plane
SCALE = 2.0  # how much wider than it says a pose from the picture is taken to be spread
DISTANCE = 0.02  # how unsure its distance is besides, as a share of it: that is what they err by
TURN = np.radians(3)  # and its turn
GAP = 0.02  # spread of the gap between an object that stands and the plane, diameters
LEAN = np.radians(2)  # and of the angle between the plane's normal and up where it rests
MOST_LEAN = np.radians(10)  # farther from all its rests, an object may be turned any way
HALF = 4.0  # squared distance, in spreads, of what is half heard
FARTHEST = 16.0  # beyond which it is not heard at all
AGREEING = 9.0  # and within which an object counts as one that agrees
ROUNDS = 6  # of moving the plane
STEPS = 3  # of moving an object onto it


@dataclass(frozen=True, eq=False)
class Plane:
    """What objects stand on."""

    normal: Array  # (3,), unit, camera frame, up: towards the camera
    point: Array  # one of it, (3,), mm, camera frame
    # (3, 3), of what is added to the normal along `across`, and of its height, mm.
    covariance: Array

    @cached_property
    def across(self) -> Array:
        """Two directions in it, square to each other, (2, 3), unit."""
        return tangents(self.normal)


@dataclass(frozen=True, eq=False)
class Standing:
    """An object that may stand on something."""

    pose: Array  # camera_from_object, (4, 4), mm
    covariance: Array  # (6, 6) of turns about its origin and moves, as it is without a plane
    rests: Rests
    diameter: float  # mm
    weight: float  # how far it is believed, in (0, 1]


@dataclass(frozen=True, eq=False)
class Contact:
    """How far an object is from standing on a plane: a gap, mm, and, if it does, its lean."""

    residuals: Array  # (m,), m = 1 or 3
    by_pose: Array  # how they change with the object, (m, 6)
    by_plane: Array  # and with the plane, (m, 3)
    variances: Array  # of objects that stand, (m,)


def stand_together(
    estimates: Sequence[PoseEstimate], objects: Mapping[int, ObjectModel]
) -> list[PoseEstimate]:
    """Put those objects of a picture that seem to stand on one plane onto it.

    Args:
        estimates: of one picture, whose camera has no distortion.
        objects: by id.

    Returns:
        The estimates, in the same order, with other poses and covariances where they agree on a
        plane. Their evidence says how well they do.
    """
    standing = [
        Standing(
            one.camera_from_object,
            _doubted(one),
            objects[one.object_id].rests,
            objects[one.object_id].diameter,
            max(1.0 if one.probability is None else one.probability, 1e-3),
        )
        for one in estimates
    ]
    plane = find_plane_under(standing)
    if plane is None:
        return [_with_evidence(one, 0.0) for one in estimates]
    return [
        _moved(one, there, plane, objects[one.object_id])
        for one, there in zip(estimates, standing, strict=True)
    ]


def _with_evidence(one: PoseEstimate, standing: float, spread: float | None = None) -> PoseEstimate:
    if one.evidence is None:
        return one
    spread = one.evidence.spread if spread is None else spread
    return replace(one, evidence=replace(one.evidence, standing=standing, spread=spread))


def _doubted(one: PoseEstimate) -> Array:
    """Return how unsure a pose from the picture is, (6, 6) of turns about its origin and moves."""
    own = own_from_left(one.camera_from_object)
    covariance = SCALE**2 * own @ one.covariance @ own.T
    if not np.isfinite(covariance).all():
        covariance = np.zeros((6, 6))
    place = one.camera_from_object[:3, 3]
    covariance[:3, :3] += TURN**2 * np.eye(3)
    covariance[3:, 3:] += DISTANCE**2 * np.outer(place, place) + 1e-2 * np.eye(3)
    return covariance


def find_plane_under(objects: Sequence[Standing]) -> Plane | None:
    """Find the plane that most objects stand on; None where fewer than `FEWEST` do."""
    if len(objects) < FEWEST:
        return None
    plane = _proposed(objects)
    if plane is None:
        return None
    for _ in range(ROUNDS):
        plane = _adjusted(objects, plane)
    agreeing = 0
    for one in objects:
        contact = contact_with(one, one.pose, plane)
        agreeing += len(contact.residuals) > 1 and max(_distances(one, contact)) < AGREEING
    return plane if agreeing >= FEWEST else None


def _proposed(objects: Sequence[Standing]) -> Plane | None:
    """Return the plane under one of the objects in one of its rests that most others agree with."""
    downs = [one.rests.down @ one.pose[:3, :3].T for one in objects]
    normals = -np.concatenate(downs)  # (h, 3)
    feet = []
    for one, down in zip(objects, downs, strict=True):
        corners = transform_points(one.pose, one.rests.corners)
        feet.append(corners[(corners @ down.T).argmax(axis=0)])
    points = np.concatenate(feet)  # (h, 3)
    seen = np.einsum("hi,hi->h", normals, points) < 0  # from above
    if not seen.any():
        return None
    normals, points = normals[seen], points[seen]
    heights, votes = np.einsum("hi,hi->h", normals, points), np.zeros(len(normals))
    for one, down in zip(objects, downs, strict=True):
        if not len(down):
            continue
        turned = one.rests.corners @ one.pose[:3, :3].T
        below = turned @ normals.T  # (n, h)
        lowest = turned[below.argmin(axis=0)]
        turns = np.einsum("hij,hj->hi", skew(lowest), normals)
        slopes = np.concatenate([turns, normals], axis=1)  # (h, 6)
        gaps = below.min(axis=0) + normals @ one.pose[:3, 3] - heights
        gap_variances = np.einsum("hi,ij,hj->h", slopes, one.covariance, slopes)
        gap_variances += (GAP * one.diameter) ** 2
        leans = np.arccos(np.clip((-down @ normals.T).max(axis=0), -1, 1))
        lean_variance = LEAN**2 + np.trace(one.covariance[:3, :3]) / 3
        off = gaps**2 / gap_variances + leans**2 / lean_variance
        votes += np.where(leans < MOST_LEAN, one.weight / (1 + off / AGREEING), 0)
    best = int(votes.argmax())
    return Plane(normals[best], points[best], np.zeros((3, 3)))


def contact_with(one: Standing, pose: Array, plane: Plane) -> Contact:
    """Return how far an object in a pose (4, 4) is from standing on a plane."""
    normal, across = plane.normal, plane.across
    turned = one.rests.corners @ pose[:3, :3].T
    foot = turned[(turned @ normal).argmin()]
    place = foot + pose[:3, 3] - plane.point
    down = one.rests.down @ pose[:3, :3].T
    nearness = -down @ normal
    stands = len(down) > 0 and nearness.max() > np.cos(MOST_LEAN)
    n = 3 if stands else 1
    residuals, by_pose, by_plane = np.empty(n), np.zeros((n, 6)), np.zeros((n, 3))
    residuals[0] = normal @ place
    by_pose[0, :3], by_pose[0, 3:] = skew(foot) @ normal, normal
    by_plane[0, :2], by_plane[0, 2] = across @ place, -1
    if stands:
        rest = down[nearness.argmax()]
        residuals[1:] = across @ (rest + normal)
        by_pose[1:, :3] = across @ skew(rest).T
        by_plane[1:, :2] = np.eye(2)
    variances = np.array([(GAP * one.diameter) ** 2, LEAN**2, LEAN**2][:n])
    return Contact(residuals, by_pose, by_plane, variances)


def _distances(one: Standing, contact: Contact) -> tuple[float, ...]:
    """Return the squared distances, in spreads, of the gap, and of the lean if there is one."""
    spread = contact.by_pose @ one.covariance @ contact.by_pose.T + np.diag(contact.variances)
    gap = float(contact.residuals[0] ** 2 / spread[0, 0])
    if len(contact.residuals) == 1:
        return (gap,)
    lean = contact.residuals[1:]
    return gap, float(lean @ np.linalg.solve(spread[1:, 1:], lean))


def _precisions(one: Standing, contact: Contact) -> Array:
    """Return how far residuals are heard, (m,): less the farther off they are."""
    heard = _heard(one, contact)
    precisions: Array = np.repeat(heard, [1, 2][: len(heard)]) / contact.variances
    return precisions


def _heard(one: Standing, contact: Contact) -> Array:
    """Return how far the gap is heard, and the lean if there is one, each in [0, 1]."""
    off = np.array(_distances(one, contact))
    return np.where(off < FARTHEST, 1 / (1 + off / HALF) ** 2, 0)


def _adjusted(objects: Sequence[Standing], plane: Plane) -> Plane:
    """Move a plane to where all objects, each as sure as it is, agree on it best."""
    normal_equations, pull = np.zeros((3, 3)), np.zeros(3)
    for one in objects:
        contact = contact_with(one, one.pose, plane)
        precisions = one.weight * _precisions(one, contact)
        heard = precisions > 0
        if not heard.any():
            continue
        slopes, by_plane = contact.by_pose[heard], contact.by_plane[heard]
        spread = slopes @ one.covariance @ slopes.T + np.diag(1 / precisions[heard])
        weighted = by_plane.T @ np.linalg.inv(spread)
        normal_equations += weighted @ by_plane
        pull += weighted @ contact.residuals[heard]
    covariance = np.asarray(np.linalg.inv(normal_equations + 1e-9 * np.eye(3)), float)
    change = -covariance @ pull
    normal = plane.normal + change[:2] @ plane.across
    normal /= np.linalg.norm(normal)
    return Plane(normal, plane.point + change[2] * normal, covariance)


def _moved(one: PoseEstimate, there: Standing, plane: Plane, model: ObjectModel) -> PoseEstimate:
    """Return an estimate that stands on a plane, as sure as it then is."""
    prior = np.asarray(np.linalg.inv(there.covariance), float)
    pose: Array = there.pose
    normal, towards_plane = prior, np.zeros((6, 3))
    heard = _heard(there, contact_with(there, pose, plane))
    standing = float(heard.prod()) if len(heard) > 1 else 0.0
    for _ in range(STEPS):
        contact = contact_with(there, pose, plane)
        weighted = contact.by_pose.T * _precisions(there, contact)
        if not weighted.any():
            return _with_evidence(one, standing)
        turn = vector_from_matrix(pose[:3, :3] @ there.pose[:3, :3].T)
        away = np.concatenate([turn, pose[:3, 3] - there.pose[:3, 3]])
        normal = prior + weighted @ contact.by_pose
        change = -np.linalg.solve(normal, weighted @ contact.residuals + prior @ away)
        towards_plane = np.linalg.solve(normal, weighted @ contact.by_plane)
        pose = perturbed(pose, change)
    if not pose[2, 3] > 0:
        return _with_evidence(one, standing)
    own = np.linalg.inv(normal) + towards_plane @ plane.covariance @ towards_plane.T
    covariance = covariance_of(np.asarray(np.linalg.inv(own), float), np.array(1.0), pose)
    moved = replace(one, camera_from_object=pose, covariance=covariance)
    return _with_evidence(moved, standing, spread_of(pose, covariance, model))
