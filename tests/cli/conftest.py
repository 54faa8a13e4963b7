"""A toy world for the commands: one image of a cube, a bundle, a network that draws the truth."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from heatpose.data.bop import FrameCamera, GroundTruth, Target, write_detections
from heatpose.data.bop_files import write_scene_camera, write_scene_gt, write_targets
from heatpose.data.cameras import write_camera
from heatpose.data.crops import crop_around
from heatpose.data.images import write_image
from heatpose.geometry.boxes import box_of_points
from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import make_transform, transform_points
from heatpose.model.heatmaps import encode, heatmap_from_crop
from heatpose.objects.catalogue import ObjectModel
from heatpose.runtime.bundle import Bundle, write_bundle
from heatpose.runtime.bundle_record import CropSettings, Provenance
from heatpose.types import Detection

CAMERA = Camera(fx=300.0, fy=300, cx=79.5, cy=59.5, width=160, height=120)
SIZE = 64  # of the crops, px
MARGIN = 2.0  # so wide that no heatmap is cut off


@dataclass(frozen=True, eq=False)
class Toys:
    """Where things are, and the pose that is right in every image."""

    folder: Path
    pose: np.ndarray
    box: tuple

    @property
    def bundle(self):
        return self.folder / "toys.heatpose"

    @property
    def images(self):
        return self.folder / "images"

    @property
    def dataset(self):
        return self.folder / "dataset"


def provenance():
    texts = dict.fromkeys(["heatpose", "date", "machine", "meshes", "notes"], "")
    return Provenance(network={}, training={}, samples=None, **texts)


@pytest.fixture
def toys(tmp_path, cube_mesh, monkeypatch):
    pose = make_transform(matrix_from_vector([0.5, -0.7, 0.3]), [20.0, -10, 600])
    keypoints = 1.0 * cube_mesh.vertices
    box = box_of_points(CAMERA.project(transform_points(pose, cube_mesh.vertices)))
    _, camera = crop_around(np.zeros((120, 160, 3), np.uint8), CAMERA, box, SIZE, MARGIN)
    pixels = heatmap_from_crop(camera.project(transform_points(pose, keypoints)))
    maps = encode(pixels, SIZE // 4, SIZE // 4, sigma=1.0).astype(np.float32)
    monkeypatch.setattr(
        "heatpose.pipeline.open_predictor",
        lambda network, backend, **options: lambda crops, index: np.stack([maps] * len(crops)),
    )
    cube = ObjectModel(7, "cube", cube_mesh, keypoints, np.eye(4)[None], 138.6)
    crop = CropSettings(size=SIZE, margin=MARGIN, stride=4, sigma=1.0)
    bundle = Bundle("toys", (cube,), crop, b"network", provenance(), "# toys\n")
    write_bundle(tmp_path / "toys.heatpose", bundle)
    _write_images(tmp_path, box)
    _write_dataset(tmp_path / "dataset", pose, box)
    return Toys(tmp_path, pose, box)


def _write_images(folder, box):
    (folder / "images").mkdir()
    for name in ("desk.png", "table.jpg"):
        write_image(folder / "images" / name, np.full((120, 160, 3), 90, np.uint8))
    write_camera(folder / "camera.json", CAMERA)
    boxes = {name: [{"object_id": 7, "box": box}] for name in ("desk.png", "table.jpg")}
    (folder / "boxes.json").write_text(json.dumps(boxes))


def _write_dataset(root, pose, box):
    scene = root / "test" / "000002"
    (scene / "rgb").mkdir(parents=True)
    for image_id in (4, 9):
        image = np.full((120, 160, 3), 90, np.uint8)
        write_image(scene / "rgb" / f"{image_id:06d}.png", image)
    frames = {4: FrameCamera(CAMERA.matrix), 9: FrameCamera(CAMERA.matrix)}
    write_scene_camera(scene / "scene_camera.json", frames)
    write_scene_gt(scene / "scene_gt.json", {i: [GroundTruth(7, pose)] for i in (4, 9)})
    write_targets(root / "test_targets_bop19.json", [Target(2, 4, 7), Target(2, 9, 7)])
    found = [Detection(7, box, 0.9), Detection(7, (0.0, 0, 9, 9), 0.4), Detection(3, box, 1.0)]
    write_detections(root / "boxes.json", {(2, 4): found})
