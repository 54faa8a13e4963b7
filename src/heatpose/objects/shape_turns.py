"""Turns that the shape of an object allows, and its colours do not.

Keypoints can be trained to tell them apart by the colours around them. Or they are trained to tell
shape alone, which takes far fewer samples: any of these turns is as right as another then, and
`heatpose.solve.markings` chooses among them when the network is used.
"""

from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np

from heatpose.geometry.arrays import Array
from heatpose.geometry.transforms import rotation_angle
from heatpose.objects.catalogue import ObjectModel
from heatpose.objects.symmetry import symmetries_from_info
from heatpose.objects.symmetry_search import find_symmetries

Labels: TypeAlias = Literal["colour", "shape"]  # what keypoints tell of how an object is turned
SAME = np.radians(1)  # turns closer than this are one
# Unless they are turns about an axis, shapes have none that are closer than this, and two that are
# so close are two measurements of one: published symmetries and those found differ by degrees.
APART = np.radians(15)


def with_shape_symmetries(model: ObjectModel) -> ObjectModel:
    """Return an object whose mesh was searched for the symmetries of its shape."""
    found = find_symmetries(model.mesh, with_colour=False).as_info()
    return replace(model, shape_symmetries=found)


def turns_of_shape(model: ObjectModel, step: float) -> Array:
    """Return the turns after which only colours tell an object, the identity first.

    Args:
        model: the object.
        step: rad between turns about an axis that it is round about.

    Returns:
        (m, 4, 4), object from object, mm; no two are a symmetry of the object apart.
    """
    if model.mesh.colours is None and model.mesh.texture is None:
        return np.eye(4)[None]
    if model.shape_symmetries is None:
        model = with_shape_symmetries(model)
    shape = model.shape_symmetries or {}
    own = model.symmetries[1:, :3, :3]
    angles = rotation_angle(own) if len(own) else np.array([np.pi])
    # Stored turns about a round axis stand for those between them as well.
    same = max(SAME, angles.min() / 2 + SAME if angles.min() < 4 * step else 0)
    if not shape.get("symmetries_continuous"):
        same = max(same, APART)
    kept = [np.eye(4)]
    for turn in symmetries_from_info(shape, max_step=step / 2):
        between = np.array(kept)[:, None, :3, :3].swapaxes(-1, -2) @ turn[:3, :3]
        if rotation_angle(model.symmetries[:, :3, :3].swapaxes(-1, -2) @ between).min() > same:
            kept.append(turn)
    return np.array(kept)


def without_markings(model: ObjectModel, step: float) -> ObjectModel:
    """Return an object to which all turns that its shape allows are symmetries.

    Args:
        model: the object.
        step: rad between turns about an axis that its shape is round about, but not its colours.
    """
    turns = turns_of_shape(model, step)
    return replace(model, symmetries=(turns[:, None] @ model.symmetries).reshape(-1, 4, 4))
