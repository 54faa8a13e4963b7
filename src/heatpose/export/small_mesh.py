"""Meshes light enough to travel with a network: for pictures, not for measuring."""

import fast_simplification
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from heatpose.geometry.arrays import Array
from heatpose.objects.mesh import Mesh
from heatpose.objects.surface import smooth_normals

MAX_FACES = 3000


def small_mesh(mesh: Mesh, max_faces: int = MAX_FACES) -> Mesh:
    """Return a mesh of the same shape with about ``max_faces`` faces at most.

    Colour comes along as vertex colours, each from the nearest vertex of the original; of a
    texture that keeps little more than its large areas.
    """
    vertices, faces = _merged(mesh)
    if len(faces) > max_faces:
        points, triangles = fast_simplification.simplify(
            vertices.astype(np.float32), faces, target_count=max_faces
        )
        vertices, faces = points.astype(float), triangles.astype(np.int32)
    nearest = cKDTree(mesh.vertices).query(vertices)[1]
    colours = vertex_colours(mesh)
    return Mesh(
        vertices=vertices,
        faces=faces,
        normals=smooth_normals(vertices, faces),
        colours=None if colours is None else colours[nearest],
    )


def vertex_colours(mesh: Mesh) -> NDArray[np.uint8] | None:
    """Return the colour of each vertex, (n, 3), RGB, looked up where there is a texture."""
    if mesh.texture is None or mesh.uv is None:
        return mesh.colours
    height, width = mesh.texture.shape[:2]
    x = np.floor(mesh.uv[:, 0] * width).astype(int) % width
    y = np.floor((1 - mesh.uv[:, 1]) * height).astype(int) % height
    colours: NDArray[np.uint8] = mesh.texture[y, x]
    return colours


def _merged(mesh: Mesh) -> tuple[Array, NDArray[np.int32]]:
    """Return vertices and faces in which vertices at one place are one.

    Along seams of a texture, and at sharp edges, meshes hold them several times over, and there
    simplification would tear the surface apart.
    """
    vertices, index = np.unique(mesh.vertices, axis=0, return_inverse=True)
    faces = index.reshape(-1)[mesh.faces].astype(np.int32)
    whole = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    return vertices, faces[whole]
