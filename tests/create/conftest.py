"""Stand-ins for what takes long: each leaves behind what the next steps need to see."""

import json

import numpy as np
import pytest

from heatpose.create import run
from heatpose.create.plan import CreateConfig, Speeds
from heatpose.create.scenes import Drawn
from heatpose.data.images import write_image
from heatpose.objects.mesh import write_mesh

SPEEDS = Speeds(
    raycast=0.2, pathtraced=2.0, keypoints=60.0, detector=15.0, estimate=0.3, fixed=10.0
)
SCORES = {"ar_mssd": 0.7, "ar_mspd": 0.8, "add_s_0.1d": 0.6, "proj_5px": None}
BOXES = {"ap": 0.5, "ap50": 0.9, "recall50": 0.95}
FOUND = {
    "poses": {"targets": 40, "mean": SCORES, "objects": {"1": SCORES, "2": SCORES}},
    "detections": {"mean": BOXES, "objects": {"1": BOXES}},
    "images": 20,
    "ms": 31.4,
}


@pytest.fixture
def meshes(tmp_path, brick_mesh, cube_mesh):
    """Two CAD files."""
    paths = [tmp_path / "brick.ply", tmp_path / "cube.ply"]
    for path, mesh in zip(paths, (brick_mesh, cube_mesh), strict=True):
        write_mesh(path, mesh)
    return paths


@pytest.fixture
def config():
    return CreateConfig(minutes=30.0)


class StandIns:
    """Remembers what was called; raises where it is told to."""

    def __init__(self):
        self.calls = []
        self.fails_at = None

    def call(self, name):
        self.calls.append(name)
        if self.fails_at == name:
            raise KeyboardInterrupt

    def measure_speeds(self, place, config):
        self.call("measure")
        return SPEEDS

    def draw_scenes(self, root, models, engine, count, config, unseen=False):
        root.mkdir(parents=True, exist_ok=True)
        self.call("unseen" if unseen else engine)
        assert (models / "obj_000001.ply").exists()
        write_image(root / "preview.jpg", np.full((30, 40, 3), 90, np.uint8))
        return Drawn(count * config.views, 0.1)

    def train_pose_network(self, run, models, scenes, samples, config):
        self.call("keypoints")
        self.train(run, models, scenes)

    def train_finder(self, run, models, scenes, samples, config, *, keypoints):
        self.call("detector")
        assert (keypoints.name, keypoints.exists()) == ("keypoints", True)
        self.train(run, models, scenes)

    def train(self, run, models, scenes):
        assert [model.name for model in models] == ["brick", "cube"]
        assert [path.name for path in scenes] == ["raycast", "pathtrace"]
        (run / "contact_sheets").mkdir(parents=True)
        write_image(run / "contact_sheets" / "epoch_0001.png", np.zeros((8, 8, 3), np.uint8))

    def export_run(self, run, out, *, detector, image_sizes):
        self.call("export")
        assert (run.name, detector.name) == ("keypoints", "detector")
        assert image_sizes == [512, 800]
        out.write_bytes(b"trained")
        return type("Report", (), {"exact": "0.01 px"}), "none"

    def calibrate_bundle(self, trained, out, dataset):
        self.call("calibration")
        assert (trained.name, trained.read_bytes()) == (out.name, b"trained")
        assert dataset.name == "unseen"
        out.write_bytes(b"bundle")
        return "expected calibration error 0.050"

    def evaluate_bundle(self, bundle, dataset, pictures):
        self.call("evaluation")
        assert bundle.read_bytes() == b"bundle"
        pictures.mkdir()
        write_image(pictures / "000000.png", np.full((30, 40, 3), 200, np.uint8))
        return json.loads(json.dumps(FOUND))


@pytest.fixture
def stand_ins(monkeypatch):
    made = StandIns()
    for name in (
        "measure_speeds",
        "draw_scenes",
        "train_pose_network",
        "train_finder",
        "export_run",
        "calibrate_bundle",
        "evaluate_bundle",
    ):
        monkeypatch.setattr(run, name, getattr(made, name))
    monkeypatch.setattr(run, "open_scenes", lambda root: root)
    return made
