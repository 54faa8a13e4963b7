"""The scores of one pose, quickly: for studies that judge the same objects many times.

The same as those of `heatpose.evaluate.scores` but for ADD(-S), which is of some of the vertices.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull

from heatpose.evaluate.errors import add, add_s, mssd, vsd
from heatpose.evaluate.scores import TENTHS, Reference
from heatpose.geometry.arrays import Array, Depth
from heatpose.geometry.camera import Camera
from heatpose.render.raycast import Renderer

KEYS = ("add_s_0.1d", "add_s_0.05d", "add_s_0.02d", "ar_mssd", "ar_vsd")
MOST_POINTS = 1000


@dataclass(frozen=True, eq=False)
class QuickReference:
    """An object, and the points that its poses are compared by."""

    object_id: int
    reference: Reference
    some: Array  # vertices spread over the mesh, (n, 3), mm
    outermost: Array  # those of its hull, (m, 3), mm: none moves farther than they do

    @classmethod
    def of(cls, object_id: int, reference: Reference) -> "QuickReference":
        """Choose the points of an object."""
        vertices = reference.mesh.vertices
        hull = ConvexHull(vertices)
        some = vertices[:: max(1, len(vertices) // MOST_POINTS)]
        return cls(object_id, reference, some, vertices[hull.vertices])


def quick_scores(
    estimate: Array | None,
    truth: Array,
    reference: QuickReference,
    measured: Depth,
    camera: Camera,
    renderer: Renderer,
) -> Array:
    """Return the score for each of `KEYS`, in [0, 1]; all 0 where there is no estimate.

    Args:
        estimate: camera_from_object, (4, 4), mm.
        truth: likewise.
        reference: the object.
        measured: depth that VSD is held to, (h, w), mm, NaN for missing.
        camera: of the image.
        renderer: knows the object.
    """
    if estimate is None:
        return np.zeros(len(KEYS))
    of = reference.reference
    mean = (add_s if of.is_symmetric else add)(estimate, truth, reference.some) / of.diameter
    most = mssd(estimate, truth, reference.outermost, of.symmetries) / of.diameter
    surface = _vsd(estimate, truth, reference, measured, camera, renderer)
    recalls = [float(mean < limit) for limit in (0.1, 0.05, 0.02)]
    return np.array([*recalls, (most < TENTHS).mean(), (surface[:, None] < TENTHS).mean()])


def _vsd(
    estimate: Array,
    truth: Array,
    reference: QuickReference,
    measured: Depth,
    camera: Camera,
    renderer: Renderer,
) -> Array:
    """Return VSD for tolerances of 0.05, 0.10, ... diameters, looking at the object alone."""
    poses = (estimate, truth)
    regions = [renderer.region(reference.object_id, pose, camera) for pose in poses]
    rows, cols = (
        slice(min(one.start for one in sides), max(one.stop for one in sides))
        for sides in zip(*regions, strict=True)
    )
    part = measured[rows, cols]
    shift = -np.array([cols.start, rows.start], float)
    crop = camera.warped(1.0, shift, part.shape[1], part.shape[0])
    estimated, true = (renderer.depth(reference.object_id, pose, crop) for pose in poses)
    return vsd(estimated, true, part, crop, TENTHS * reference.reference.diameter)
