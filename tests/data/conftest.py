"""Two objects, and BOP data sets of a few small frames, drawn so that pixels say what they show."""

import cv2
import numpy as np
import pytest

from heatpose.data import bop
from heatpose.data.backgrounds import Backgrounds
from heatpose.data.images import write_image
from heatpose.geometry.boxes import box_of_mask
from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import random_rotation
from heatpose.geometry.transforms import make_transform
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer

# Pixels that are not square: turning the picture as if they were would be found out.
CAMERA = Camera(fx=300.0, fy=330.0, cx=85.3, cy=57.2, width=160, height=120)
PURE = {1: [220, 0, 0], 2: [0, 220, 0], 9: [0, 0, 220]}  # colour of each object, RGB
PLACES = ([-95.0, -10, 600], [15.0, 25, 640], [75.0, -40, 700])  # mm; all at least partly inside


@pytest.fixture
def objects(brick_mesh, cube_mesh):
    """A brick and a cube, with their corners as keypoints."""
    identity = np.eye(4)[None]
    return [
        ObjectModel(3, "brick", brick_mesh, brick_mesh.vertices, identity, 161.6),
        ObjectModel(7, "cube", cube_mesh, cube_mesh.vertices, identity, 138.6),
    ]


@pytest.fixture
def photos(tmp_path):
    """Two photographs of noise."""
    rng = np.random.default_rng(0)
    for i, shape in enumerate([(60, 80, 3), (90, 70, 3)]):
        cv2.imwrite(str(tmp_path / f"{i}.png"), rng.integers(0, 256, shape, np.uint8))
    return Backgrounds(tmp_path)


@pytest.fixture
def meshes(brick_mesh, cube_mesh):
    """Objects 1 (brick), 2 (cube) and 9 (another cube, which nobody looks for)."""
    return {1: brick_mesh, 2: cube_mesh, 9: cube_mesh}


@pytest.fixture
def drawn_bop(tmp_path, meshes):
    """A function that writes a data set of one scene and returns its folder.

    Objects have pure colours; or, where ``coordinates`` are asked for, RGB are their x, y, z: 128
    at the origin and two to the millimetre. All else is black.
    """

    def write(name="drawn", n_images=6, masks=True, coordinates=False):
        scene = tmp_path / name / "train" / "000000"
        (scene / "rgb").mkdir(parents=True)
        (scene / "mask_visib").mkdir()
        renderer, rng = Renderer(meshes), np.random.default_rng(3)
        truth, seen = {}, {}
        for image_id in range(n_images):
            poses = [make_transform(random_rotation(rng), np.array(place)) for place in PLACES]
            ids = list(meshes)
            rendering = renderer.render(ids, poses, CAMERA)
            wide = renderer.render(ids, poses, CAMERA.warped(1.0, np.array([100, 100]), 360, 320))
            picture = np.zeros((120, 160, 3), np.uint8)
            for index, object_id in enumerate(ids):
                picture[rendering.mask(index)] = PURE[object_id]
            if coordinates:
                codes = np.nan_to_num(rendering.object_coordinates * 2 + 128, nan=0.0)
                picture = np.round(codes).astype(np.uint8)
            write_image(scene / "rgb" / f"{image_id:06d}.png", picture)
            for index in range(len(ids)) if masks else ():
                mask = np.repeat(np.uint8(rendering.mask(index) * 255)[..., None], 3, axis=2)
                write_image(scene / "mask_visib" / f"{image_id:06d}_{index:06d}.png", mask)
            truth[image_id] = [bop.GroundTruth(*one) for one in zip(ids, poses, strict=True)]
            seen[image_id] = [_visibility(rendering, wide, index) for index in range(len(ids))]
        bop.write_scene_gt(scene / "scene_gt.json", truth)
        bop.write_scene_gt_info(scene / "scene_gt_info.json", seen)
        frame = bop.FrameCamera(CAMERA.matrix)
        bop.write_scene_camera(scene / "scene_camera.json", dict.fromkeys(truth, frame))
        return tmp_path / name

    return write


def _visibility(rendering, wide, index):
    visible = rendering.mask(index)
    pixels = int(wide.full_masks[index].sum())
    left, top, right, bottom = box_of_mask(wide.full_masks[index])
    return bop.Visibility(
        box=(left - 100, top - 100, right - 100, bottom - 100),
        visible_box=box_of_mask(visible),
        pixels=pixels,
        valid_pixels=pixels,
        visible_pixels=int(visible.sum()),
        visible_fraction=visible.sum() / pixels,
    )
