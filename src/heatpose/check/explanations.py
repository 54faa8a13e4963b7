"""What is known to go wrong with data sets, each as a change that would put it right."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations, product

import numpy as np

from heatpose.check.views import View
from heatpose.geometry.arrays import Array
from heatpose.geometry.rotations import vector_from_matrix
from heatpose.geometry.transforms import invert, make_transform

OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # from a camera that looks along -z, with y up
# K of one resolution over K of another: those that cameras offer.
ZOOMS = (0.25, 1 / 3, 0.375, 0.5, 0.625, 2 / 3, 0.75, 0.8, 1.25, 4 / 3, 1.5, 1.6, 2.0, 2.25, 3.0, 4)
CENTRED = 1.0  # mm that the centre of a box may lie off its origin for it to be there
OFF_CENTRE = "their origins are not the centres of their boxes, as the poses expect"
UNITS = {1000.0: "metres", 10.0: "centimetres", 25.4: "inches"}  # mm in each


@dataclass(frozen=True, eq=False)
class Explanation:
    """A fault, and the change of a view that undoes it."""

    fault: str
    remedy: str
    undo: Callable[[View], View]


def explanations(centres: Mapping[int, Array], has_depth: bool) -> list[Explanation]:
    """Return all of them; what is simpler, and as good, comes first.

    Args:
        centres: of the bounding boxes of the models, (3,), mm.
        has_depth: whether depth was measured.
    """
    return [
        Explanation(
            "red and blue are exchanged: the pictures (or the colours of the models) are BGR",
            "exchange the first and the third channel",
            lambda view: replace(view, swapped=not view.swapped),
        ),
        *(_depth_scales() if has_depth else ()),
        *_units(),
        *_poses(),
        *(_zoom(factor) for factor in ZOOMS),
        *_model_frames(centres),
    ]


def _depth_scales() -> Iterator[Explanation]:
    for factor in (0.1, 10.0, 0.01, 100.0, 0.001, 1000.0):
        yield Explanation(
            f"the depth scale is off by {1 / factor:g}",
            f"multiply depth_scale by {factor:g}",
            partial(_measured, factor=factor),
        )


def _units() -> Iterator[Explanation]:
    for mm, unit in UNITS.items():
        yield Explanation(
            f"translations are in {unit}, not in millimetres",
            f"multiply translations by {mm:g}",
            partial(_farther, factor=mm),
        )
        yield Explanation(
            f"models are in {unit}, not in millimetres",
            f"multiply the vertices of the models by {mm:g}",
            partial(_larger, factor=mm),
        )
        yield Explanation(
            f"models and translations are in {unit}, not in millimetres",
            f"multiply both by {mm:g}",
            partial(_longer, factor=mm),
        )
    for factor in (0.1, 0.01, 0.001):
        yield Explanation(
            f"translations are {1 / factor:g} times as large as they should be: they were in a "
            "smaller unit than the one they were taken for",
            f"multiply translations by {factor:g}",
            partial(_farther, factor=factor),
        )
        yield Explanation(
            f"models are {1 / factor:g} times as large as they should be",
            f"multiply the vertices of the models by {factor:g}",
            partial(_larger, factor=factor),
        )


def _measured(view: View, factor: float) -> View:
    return replace(view, depth_factor=view.depth_factor * factor)


def _farther(view: View, factor: float) -> View:
    return view.reposed(lambda _, pose: make_transform(pose[:3, :3], pose[:3, 3] * factor))


def _longer(view: View, factor: float) -> View:
    return replace(view, length=view.length * factor)


def _larger(view: View, factor: float) -> View:
    """Enlarge all models: in a picture the same as if all was that much nearer."""
    return _longer(_farther(view, 1 / factor), factor)


def _poses() -> Iterator[Explanation]:
    yield Explanation(
        "rotations are transposed",
        "read their nine numbers column by column",
        lambda view: view.reposed(lambda _, pose: make_transform(pose[:3, :3].T, pose[:3, 3])),
    )
    yield Explanation(
        "poses are inverted: they take points of the camera to the object",
        "invert them",
        lambda view: view.reposed(lambda _, pose: invert(pose)),
    )
    yield Explanation(
        "poses are those of a camera that looks along -z with y up (OpenGL)",
        "turn the signs of the second and third row of R and t",
        lambda view: view.reposed(lambda _, pose: OPENGL @ pose),
    )


def _zoom(factor: float) -> Explanation:
    def undo(view: View) -> View:
        camera = view.camera
        shift = np.full(2, (factor - 1) / 2)  # the half pixel
        return replace(view, camera=camera.warped(factor, shift, camera.width, camera.height))

    return Explanation(
        f"the camera matrix is that of pictures {1 / factor:.3g} times as large",
        f"multiply fx, fy, cx, cy by {factor:.3g}",
        undo,
    )


def _model_frames(centres: Mapping[int, Array]) -> Iterator[Explanation]:
    """Give other frames of models: turned axes, about the origin or the centre of the box."""
    none = dict.fromkeys(centres, np.zeros(3))
    centred = max(float(np.linalg.norm(centre)) for centre in centres.values()) < CENTRED
    for rotation in axis_rotations():
        if not np.array_equal(rotation, np.eye(3)):
            yield model_frame(rotation, none, "")
        if not centred:
            yield model_frame(rotation, centres, OFF_CENTRE)


def model_frame(rotation: Array, origins: Mapping[int, Array], moved: str) -> Explanation:
    """Explain by models in another frame than poses are made for.

    Args:
        rotation: from their frame to the right one, (3, 3).
        origins: of the right frame in theirs, (3,), mm.
        moved: how origins differ, in words.
    """
    right_from_theirs = {
        one: make_transform(rotation, -rotation @ origin) for one, origin in origins.items()
    }

    def repose(object_id: int, pose: Array) -> Array:
        # The poses are right for the right frame: x_camera = pose @ right_from_theirs @ x_theirs.
        reposed: Array = pose @ right_from_theirs[object_id]
        return reposed

    turned = "" if np.array_equal(rotation, np.eye(3)) else f"their axes are {_turn(rotation)}"
    how = ", and ".join(word for word in (turned, moved) if word)
    return Explanation(
        f"the models are of another version than the poses: {how}",
        "take the models that belong to the poses, or move these",
        lambda view: view.reposed(repose),
    )


def axis_rotations() -> list[Array]:
    """Return the 24 rotations that take axes to axes, small turns and half turns first."""
    found = []
    for order, signs in product(permutations(range(3)), product((1.0, -1.0), repeat=3)):
        matrix = np.zeros((3, 3))
        matrix[range(3), order] = signs
        if np.linalg.det(matrix) > 0:
            found.append(matrix)
    return sorted(found, key=lambda m: (_n_axes(m), -np.trace(m)))


def _n_axes(matrix: Array) -> int:
    """Return how many axes a turn is about: 1 for x, y or z."""
    return int(np.count_nonzero(np.abs(vector_from_matrix(matrix)) > 1e-6))


def _turn(rotation: Array) -> str:
    vector = vector_from_matrix(rotation)
    degrees = float(np.degrees(np.linalg.norm(vector)))
    axis = vector / np.abs(vector).max()
    if np.count_nonzero(np.abs(axis) > 1e-6) == 1:
        name = "xyz"[int(np.abs(axis).argmax())]
        if degrees < 179 and axis.sum() < 0:
            name = f"-{name}"
    else:
        name = "(" + ", ".join(f"{value:.0f}" for value in axis) + ")"
    return f"turned by {degrees:.0f} degrees about {name}"
