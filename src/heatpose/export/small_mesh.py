"""Meshes light enough to travel with a network: for pictures, not for measuring."""

import fast_simplification
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from heatpose.geometry.arrays import Array
from heatpose.objects.mesh import Mesh, sample_colours
from heatpose.objects.surface import smooth_normals

MAX_FACES = 3000
SAMPLES, BLENDED = 60_000, 16  # points of the original, and of those the ones that colour a vertex


def small_mesh(mesh: Mesh, max_faces: int = MAX_FACES) -> Mesh:
    """Return a mesh of the same shape with about ``max_faces`` faces at most.

    Colour comes along as vertex colours, each the mean of what is around it in the original; of a
    texture that keeps what is not too fine.
    """
    vertices, faces = _merged(mesh)
    if len(faces) > max_faces:
        points, triangles = fast_simplification.simplify(
            vertices.astype(np.float32), faces, target_count=max_faces
        )
        vertices, faces = points.astype(float), triangles.astype(np.int32)
    return Mesh(
        vertices=vertices,
        faces=faces,
        normals=smooth_normals(vertices, faces),
        colours=_mean_colours(mesh, vertices),
    )


def _mean_colours(mesh: Mesh, places: Array) -> NDArray[np.uint8] | None:
    """Return the mean colour of a mesh around each place (n, 3), mm: (n, 3), RGB."""
    points, colours = sample_colours(mesh, SAMPLES, np.random.default_rng(0))
    if colours is None:
        return None
    nearest = cKDTree(points).query(places, k=BLENDED)[1]
    means: NDArray[np.uint8] = colours[nearest].mean(axis=1).round().astype(np.uint8)
    return means


def _merged(mesh: Mesh) -> tuple[Array, NDArray[np.int32]]:
    """Return vertices and faces in which vertices at one place are one.

    Along seams of a texture, and at sharp edges, meshes hold them several times over, and there
    simplification would tear the surface apart.
    """
    vertices, index = np.unique(mesh.vertices, axis=0, return_inverse=True)
    faces = index.reshape(-1)[mesh.faces].astype(np.int32)
    whole = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    return vertices, faces[whole]
