"""A toy world for the commands: one image of a cube, a bundle, a network that draws the truth."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from heatpose.cli import app
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
from heatpose.pipeline import PoseEstimator
from heatpose.runtime.bundle import Bundle, BundledDetector, read_bundle, write_bundle
from heatpose.runtime.bundle_record import CropSettings, DetectorSettings, Provenance
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

    def estimate(self, *arguments, boxes="boxes.json"):
        """Run ``heatpose estimate`` with the bundle, into the folder ``out``."""
        fixed = ["--bundle", self.bundle, "--out", self.folder / "out"]
        if boxes:
            fixed += ["--boxes", self.folder / boxes]
        return CliRunner().invoke(app, ["estimate", *map(str, [*arguments, *fixed])])

    def on_images(self, *arguments, camera="camera.json", boxes="boxes.json"):
        camera = self.folder / camera
        return self.estimate(self.images, "--camera", camera, *arguments, boxes=boxes)

    def on_dataset(self, *arguments, boxes="dataset/boxes.json"):
        # The toy network draws the heatmaps of the first look, whatever it sees.
        once = ["--looks", 1, "--passes", 1]
        return self.estimate("--dataset", self.dataset, *once, *arguments, boxes=boxes)

    def left_behind(self):
        """Return all that is in the folder for results, or None where there is no folder."""
        out = self.folder / "out"
        if not out.exists():
            return None
        return sorted(p.relative_to(out).as_posix() for p in out.rglob("*"))

    def add_detector(self, *seen, threshold=0.25):
        """Give the bundle a detector of objects 3 and 7 that sees (class, box, score)."""
        settings = DetectorSettings(
            object_ids=[3, 7],
            image_sizes=[160],
            threshold=threshold,
            weights="float16",
            network={},
            training={},
            samples=None,
            datasets=[],
            machine="",
        )
        detector = BundledDetector(self.onnx_detector(*seen), settings)
        write_bundle(self.bundle, replace(read_bundle(self.bundle), detector=detector))

    def onnx_detector(self, *seen, scale=1):
        return blind_in_the_dark(*seen, scale=scale)


def blind_in_the_dark(*seen, scale=1):
    """An ONNX detector that sees (class, box, score) in every picture that is not black.

    It looks at pictures that are enlarged by a scale.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rows = [[*(scale * np.add(box, 0.5)), score, label] for label, box, score in seen]
    one_if_light = np.array([[[0, 0, 0, 0, 1, 0]]], np.float32)
    stored = {
        "rows": np.array(rows, np.float32).reshape(1, -1, 6),
        "score": one_if_light,
        "others": 1 - one_if_light,
        "gain": np.float32(100),
        "zero": np.float32(0),
        "one": np.float32(1),
    }
    nodes = [
        helper.make_node("ReduceMin", ["images"], ["least"], keepdims=0),
        helper.make_node("Mul", ["least", "gain"], ["bright"]),
        helper.make_node("Clip", ["bright", "zero", "one"], ["light"]),
        helper.make_node("Mul", ["score", "light"], ["dimmed"]),
        helper.make_node("Add", ["dimmed", "others"], ["factors"]),
        helper.make_node("Mul", ["rows", "factors"], ["boxes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "blind in the dark",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, len(rows), 6])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


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
    plain = replace(cube_mesh, colours=None)  # which nothing but keypoints says how it is turned
    cube = ObjectModel(7, "cube", plain, keypoints, np.eye(4)[None], 138.6)
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


@pytest.fixture
def asked(monkeypatch):
    """The looks and passes of all estimators that are opened; they get along with one of each."""
    asked = []
    load = PoseEstimator.from_bundle

    def from_bundle(bundle, effort, **options):
        asked.append((effort.looks, effort.passes))
        return load(bundle, replace(effort, looks=1, passes=1), **options)

    monkeypatch.setattr(PoseEstimator, "from_bundle", from_bundle)
    return asked
