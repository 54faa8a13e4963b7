"""Find the symmetries of a mesh: turns after which it looks the same.

A turn is a symmetry if hardly a point of the surface comes to lie farther than a small share of
the diameter from the surface (after Hodan et al., On Evaluation of 6D Object Pose Estimation,
2016, section 2.3); where colour counts, the colours that meet have to be alike too.

Whatever the turn, it keeps the centroid of the surface and its second moments where they are. So
its axis runs through the centroid: along a principal axis, or, where two or all three moments are
equal, somewhere in their plane or in space. There, axes are tried all around.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from heatpose.geometry.arrays import Array
from heatpose.geometry.directions import even_directions
from heatpose.geometry.rotations import matrix_from_vector, nearest_rotation
from heatpose.geometry.transforms import make_transform, rotation_angle, transform_points
from heatpose.objects.mesh import Mesh, diameter, sample_colours

TOLERANCE = 0.03  # of the diameter, that a point may lie off the surface
OUTLIERS = 0.02  # share of points that may lie farther off: scanning noise, small marks
COLOURS_APART = 20.0  # mean difference of colours that meet, of 255, up to which they are alike
ALIKE = 0.08  # moments that differ by less, relative to the largest, may be equal
COARSE = 3.0  # times the tolerance: what is worth refining
MAX_ORDER = 10  # of turns about one axis; what has more is round
MAX_MISSES = 20
ROUND_TURNS = np.array([0.37, 1.0, 1.71, 2.41, 2.9])  # rad; a round object passes them all
N_COARSE, N_POINTS, N_SURFACE = 100, 500, 12_000  # what is turned, and what it is held against
SAME = np.radians(25)  # turns closer than this are one: MAX_ORDER makes steps of 36 degrees
NEAR = np.radians(6)  # of an axis of the frame, to be called by its name


@dataclass(frozen=True, eq=False)
class Axis:
    """An axis about which any turn is a symmetry."""

    direction: Array  # (3,), unit
    offset: Array  # a point on it, (3,), mm


@dataclass(frozen=True, eq=False)
class Symmetries:
    """What leaves an object as it is, besides doing nothing."""

    discrete: Array  # (m, 4, 4), object from object, mm
    continuous: tuple[Axis, ...]

    def as_info(self) -> dict[str, Any]:
        """Return the entries of BOP's ``models_info.json``; none for what there is none of."""
        info: dict[str, Any] = {}
        if len(self.discrete):
            info["symmetries_discrete"] = [one.ravel().round(6).tolist() for one in self.discrete]
        if self.continuous:
            info["symmetries_continuous"] = [
                {"axis": a.direction.round(6).tolist(), "offset": a.offset.round(4).tolist()}
                for a in self.continuous
            ]
        return info

    def __str__(self) -> str:
        """Say what there is in words."""
        turns = np.atleast_1d(rotation_angle(self.discrete[:, :3, :3]))
        parts = [f"round about {_named(axis.direction)}" for axis in self.continuous]
        parts += [
            f"{np.degrees(angle):.0f} degrees about {_named(_axis_of(turn[:3, :3]))}"
            for angle, turn in zip(turns, self.discrete, strict=True)
        ]
        return "; ".join(parts) or "none"


def find_symmetries(mesh: Mesh, with_colour: bool = True) -> Symmetries:
    """Find the turns after which an object looks the same.

    Args:
        mesh: the object.
        with_colour: colours have to fit as well as shape, where the mesh has any.
    """
    surface = _Surface(mesh, with_colour)
    axes, turns = surface.candidates()
    round_axes = [axis for axis in axes if surface.is_round(axis)]
    if len(round_axes) > 1:  # a ball: three axes stand for all
        round_axes = list(np.eye(3))
        turns = []
    continuous = tuple(Axis(axis, surface.centre) for axis in round_axes)
    found: list[Array] = []
    misses = 0  # in a row: the nearest come first, so what is left is hardly worth refining
    for turn in turns:
        if misses == MAX_MISSES:
            break
        if _known(turn, found, round_axes):
            continue
        refined = surface.refined(turn)
        if refined is not None and not _known(refined, found, round_axes):
            found.append(refined)
            misses = 0
        else:
            misses += 1
    discrete = _closed(found, surface, round_axes)
    return Symmetries(np.array(discrete).reshape(-1, 4, 4), continuous)


class _Surface:
    """Points of a surface that turned points can be held against."""

    def __init__(self, mesh: Mesh, with_colour: bool) -> None:
        rng = np.random.default_rng(0)
        points, colours = sample_colours(mesh, N_SURFACE, rng)
        self.tree, self.surface = KDTree(points), points
        self.colours = colours if with_colour else None
        self.points = points[:N_POINTS]
        self.size = diameter(mesh)
        self.centre: Array = points.mean(axis=0)
        self.moments, self.principal = np.linalg.eigh(np.cov((points - self.centre).T))
        # A sampled surface has gaps: no point can be told to be nearer than they are wide.
        gaps = np.asarray(self.tree.query(self.points, k=2)[0])[:, 1]
        self.tolerance = TOLERANCE * self.size + float(np.quantile(gaps, 1 - OUTLIERS))

    def about(self, rotation: Array) -> Array:
        """Return the turn by a rotation (3, 3) about the centroid, (4, 4), mm."""
        return make_transform(rotation, self.centre - rotation @ self.centre)

    def off(self, turn: Array) -> float:
        """Return how far a turn (4, 4) takes some points off the surface, mm."""
        distances = self.tree.query(transform_points(turn, self.points[:N_COARSE]))[0]
        return float(np.quantile(distances, 1 - OUTLIERS))

    def holds(self, turn: Array) -> bool:
        """Say whether a turn (4, 4) leaves shape, and colour if that counts, as they are."""
        moved = transform_points(turn, self.points)
        distances, nearest = self.tree.query(moved)
        if np.quantile(distances, 1 - OUTLIERS) > self.tolerance:
            return False
        if self.colours is None:
            return True
        apart = np.abs(self.colours[:N_POINTS] - self.colours[nearest]).mean()
        return bool(apart < COLOURS_APART)

    def is_round(self, axis: Array) -> bool:
        """Say whether any turn about an axis (3,) through the centroid is a symmetry."""
        return all(self.holds(self.about(matrix_from_vector(a * axis))) for a in ROUND_TURNS)

    def candidates(self) -> tuple[list[Array], list[Array]]:
        """Return axes (3,) that the object may be round about, and turns (4, 4) worth refining."""
        principal = list(self.principal.T)
        gaps = np.abs(np.subtract.outer(self.moments, self.moments)) / self.moments.max()
        equal = [gaps[(i + 1) % 3, (i + 2) % 3] < ALIKE for i in range(3)]
        if all(equal):
            axes = even_directions(600)[:300]  # of the others, each is one of these backwards
            orders: Iterable[int] = (2, 3, 4, 5)
            rotations = [(axis, order) for axis in axes for order in orders]
            return principal, self._promising(rotations)
        rotations = [(axis, 2) for axis in principal]
        for i in np.flatnonzero(equal):
            rotations += [(principal[i], order) for order in range(3, MAX_ORDER + 1)]
            around = np.arange(0, np.pi, np.radians(4))
            first, second = principal[(i + 1) % 3], principal[(i + 2) % 3]
            rotations += [(np.cos(a) * first + np.sin(a) * second, 2) for a in around]
        return [principal[i] for i in np.flatnonzero(equal)], self._promising(rotations)

    def _promising(self, rotations: Iterable[tuple[Array, int]]) -> list[Array]:
        """Return the turns by 1 / order about axes that come near a symmetry, the nearest first."""
        turns = [self.about(matrix_from_vector(2 * np.pi / n * axis)) for axis, n in rotations]
        offs = [self.off(turn) for turn in turns]
        order = np.argsort(offs, kind="stable")
        return [turns[i] for i in order if offs[i] < COARSE * self.tolerance]

    def refined(self, turn: Array) -> Array | None:
        """Move a turn (4, 4) to where surfaces fit best; None if they do not fit even there."""
        for _ in range(20):  # iterated closest points (Besl and McKay, 1992)
            moved = transform_points(turn, self.points)
            nearest = self.surface[self.tree.query(moved)[1]]
            middle, target = self.points.mean(axis=0), nearest.mean(axis=0)
            rotation = nearest_rotation((nearest - target).T @ (self.points - middle))
            turn = make_transform(rotation, target - rotation @ middle)
        return turn if self.holds(turn) else None


def _axis_of(rotation: Array) -> Array:
    """Return the axis of a rotation (3, 3), (3,), its largest part positive."""
    values, vectors = np.linalg.eig(rotation)
    axis = np.real(vectors[:, np.argmin(np.abs(values - 1))])
    unit: Array = axis / np.linalg.norm(axis) * np.sign(axis[np.abs(axis).argmax()])
    return unit


def _is_about(turn: Array, axis: Array) -> bool:
    """Say whether a turn (4, 4) is one about an axis (3,)."""
    return bool(np.linalg.norm(turn[:3, :3] @ axis - axis) < SAME)


def _known(turn: Array, found: Iterable[Array], round_axes: Iterable[Array]) -> bool:
    """Say whether a turn is none, or one of those found but for turns about round axes."""
    if rotation_angle(turn[:3, :3]) < SAME:
        return True
    for other in (np.eye(4), *found):
        between = turn @ np.linalg.inv(other)
        if rotation_angle(between[:3, :3]) < SAME:
            return True
        if any(_is_about(between, axis) for axis in round_axes):
            return True
    return False


def _closed(
    found: list[Array], surface: _Surface, round_axes: Iterable[Array], most: int = 60
) -> list[Array]:
    """Add what turns make of each other: two symmetries one after the other are one."""
    group, axes = list(found), list(round_axes)
    for first in group:  # grows on the way
        for second in found:
            if len(group) >= most:
                return group
            product = first @ second
            if _known(product, group, axes):
                continue
            refined = surface.refined(product)
            if refined is not None and not _known(refined, group, axes):
                group.append(refined)
    return group


def _named(direction: NDArray[np.float64]) -> str:
    """Name an axis: x, y or z if it is near one, else its direction."""
    nearest = int(np.abs(direction).argmax())
    if abs(direction[nearest]) > np.cos(NEAR):
        return "xyz"[nearest]
    return f"({', '.join(f'{value:.2f}' for value in direction.round(2) + 0.0)})"
