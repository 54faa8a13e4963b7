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


@pytest.fixture
def small_bop(tmp_path, brick_mesh, cube_mesh):
    """A function that writes a BOP data set of two frames and returns its folder.

    Scene 5, images 3 and 12, each with objects 1 (brick) and 2 (cube, which looks the same after
    half a turn about z), both of them targets. With depth unless told otherwise.
    """

    def write(depth=True):
        _write_small_bop(tmp_path / "small", {1: brick_mesh, 2: cube_mesh}, depth)
        return tmp_path / "small"

    return write


def _write_small_bop(root, meshes, with_depth):
    from PIL import Image

    from heatpose.data import bop
    from heatpose.objects.mesh import diameter, write_mesh
    from heatpose.render.raycast import Renderer

    rng = np.random.default_rng(5)
    camera = Camera(fx=150.0, fy=152.0, cx=79.3, cy=60.2, width=160, height=120)
    scene = root / "test" / "000005"
    for folder in (root / "models_eval", scene / "rgb", scene / "depth"):
        folder.mkdir(parents=True)
    infos = {i: {"diameter": diameter(mesh)} for i, mesh in meshes.items()}
    infos[2]["symmetries_discrete"] = [np.diag([-1.0, -1.0, 1.0, 1.0]).ravel().tolist()]
    bop.write_models_info(root / "models_eval" / "models_info.json", infos)
    for object_id, mesh in meshes.items():
        write_mesh(root / "models_eval" / f"obj_{object_id:06d}.ply", mesh)

    truth, seen = {}, {}
    for image_id in (3, 12):
        places = [[-90.0, 0.0, 600.0], [90.0, 10.0, 650.0]]
        poses = [make_transform(random_rotation(rng), np.array(place)) for place in places]
        rendering = Renderer(meshes).render([1, 2], poses, camera)
        truth[image_id] = [bop.GroundTruth(i, pose) for i, pose in zip((1, 2), poses, strict=True)]
        seen[image_id] = [_visibility(rendering, index) for index in (0, 1)]
        grey = np.uint8(np.isfinite(rendering.depth) * 200)
        Image.fromarray(np.dstack([grey] * 3)).save(scene / "rgb" / f"{image_id:06d}.png")
        if with_depth:
            units = np.nan_to_num(rendering.depth * 10).astype(np.uint16)
            Image.fromarray(units).save(scene / "depth" / f"{image_id:06d}.png")
    frames = {image_id: bop.FrameCamera(camera.matrix, depth_scale=0.1) for image_id in truth}
    bop.write_scene_camera(scene / "scene_camera.json", frames)
    bop.write_scene_gt(scene / "scene_gt.json", truth)
    bop.write_scene_gt_info(scene / "scene_gt_info.json", seen)
    bop.write_camera(root / "camera.json", camera, depth_scale=0.1)
    targets = [bop.Target(5, image_id, i) for image_id in truth for i in meshes]
    bop.write_targets(root / "test_targets_bop19.json", targets)


def _visibility(rendering, index):
    from heatpose.data.bop import Visibility
    from heatpose.geometry.boxes import box_of_mask

    whole, visible = rendering.full_masks[index], rendering.mask(index)
    return Visibility(
        box=box_of_mask(whole),
        visible_box=box_of_mask(visible),
        pixels=int(whole.sum()),
        valid_pixels=int(whole.sum()),
        visible_pixels=int(visible.sum()),
        visible_fraction=rendering.visible_fraction(index),
    )
