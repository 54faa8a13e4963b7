"""What tests of several parts share: poses, cameras, small meshes, the folder of real frames."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import random_rotation
from heatpose.geometry.transforms import make_transform

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data():
    """The folder with the real frames (lmo, lm, ...); skips the test where there is none."""
    folder = Path(os.environ.get("HEATPOSE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real frames at {folder}: set HEATPOSE_DATA to their folder")
    return folder


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def camera():
    """LINEMOD's camera."""
    return Camera(fx=572.4114, fy=573.57043, cx=325.2611, cy=242.04899, width=640, height=480)


@pytest.fixture(params=[5, 8], ids=["five coefficients", "eight coefficients"])
def distorted_camera(request, camera):
    """The same with a lens whose corners lie some ten pixels off, as OpenCV describes it."""
    coefficients = (-0.18, 0.09, 0.0011, -0.0007, -0.02, 0.03, 0.02, 0.004)[: request.param]
    return Camera.from_matrix(camera.matrix, camera.width, camera.height, coefficients)


@pytest.fixture
def random_pose(rng):
    """A function that draws a camera_from_object, (4, 4), in view of `camera`."""

    def draw():
        translation = rng.uniform([-100, -80, 500], [100, 80, 1100])
        return make_transform(random_rotation(rng), translation)

    return draw


@pytest.fixture
def cube():
    """The corners of a cube of 80 mm around the origin, (8, 3), mm."""
    return 40.0 * np.array(list(itertools.product([-1, 1], repeat=3)))


@pytest.fixture
def cube_mesh():
    """A closed cube of 80 mm around the origin, each corner in its own colour."""
    return _box_mesh([80.0, 80.0, 80.0], [0.0, 0.0, 0.0])


@pytest.fixture
def brick_mesh():
    """A closed box of 60 x 90 x 120 mm whose centre lies at (5, -8, 12): no two views are alike."""
    return _box_mesh([60.0, 90.0, 120.0], [5.0, -8.0, 12.0])


def _box_mesh(extents, centre):
    from heatpose.objects.mesh import Mesh

    corners = np.array(list(itertools.product([-0.5, 0.5], repeat=3)))  # x slowest, z fastest
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    faces = [triangle for a, b, c, d in quads for triangle in ([a, b, c], [a, c, d])]
    return Mesh(
        vertices=corners * extents + centre,
        faces=np.array(faces, np.int32),
        normals=corners / np.linalg.norm(corners, axis=1, keepdims=True),
        colours=np.uint8((corners + 0.5) * 200 + 40),
        uv=None,
        texture=None,
    )
