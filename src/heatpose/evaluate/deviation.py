"""How far one estimate is from the truth, as people like to read it."""

from dataclasses import dataclass

import numpy as np

from heatpose.evaluate.errors import add, add_s, turn_and_shift
from heatpose.geometry.arrays import Array
from heatpose.objects.catalogue import ObjectModel


@dataclass(frozen=True)
class Deviation:
    """What lies between an estimated and a true pose, for the symmetry that fits best."""

    shift: float  # distance of the origins, mm
    turn: float  # angle of the rotation between them, radians
    add: float  # ADD, or ADD-S for symmetric objects, mm
    share: float  # add over the object's diameter


def deviation(estimate: Array, truth: Array, model: ObjectModel) -> Deviation:
    """Compare two poses, camera_from_object (4, 4), mm, of an object."""
    turns, shifts = turn_and_shift(estimate, truth, model.symmetries)
    best = int(np.argmin(turns))
    error = add_s if len(model.symmetries) > 1 else add
    distance = error(estimate, truth, model.mesh.vertices)
    return Deviation(float(shifts[best]), float(turns[best]), distance, distance / model.diameter)
