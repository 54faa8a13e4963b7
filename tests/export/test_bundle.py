import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import heatpose
import heatpose.export.bundle as export
from heatpose.errors import BundleError, CheckpointError, DataError, UnknownObjectError
from heatpose.export.agreement import Agreement, rendered_crops
from heatpose.export.bundle import ExportReport, change_bundle, export_run
from heatpose.export.card import with_calibration, with_weights, write_card
from heatpose.export.detector import Difference
from heatpose.export.onnx import export_network
from heatpose.geometry.camera import Camera
from heatpose.model.network import KeypointNet, NetworkConfig
from heatpose.model.weights import load_network, save_network
from heatpose.objects.catalogue import ObjectModel, object_to_record
from heatpose.objects.mesh import write_mesh
from heatpose.pipeline import PoseEstimator
from heatpose.runtime.bundle import Bundle, BundledDetector, read_bundle, write_bundle
from heatpose.runtime.bundle_record import CropSettings, DetectorSettings, Provenance
from heatpose.runtime.predictor import open_predictor
from heatpose.runtime.torch_predictor import TorchPredictor
from heatpose.solve.probability import Calibration
from heatpose.types import Detection, Observation

SIZE = 64


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = KeypointNet(NetworkConfig(2, 4, decoder_channels=16, crop_size=SIZE)).eval()
    with torch.no_grad():
        network.head.weight.normal_(std=20.0)
    return network


@pytest.fixture
def run(tmp_path, network, cube_mesh, brick_mesh):
    """A run folder as training leaves it."""
    run = tmp_path / "run"
    (run / "models").mkdir(parents=True)
    objects = [
        ObjectModel(7, "obj_000007", brick_mesh, brick_mesh.vertices[:4], np.eye(4)[None], 161.6),
        ObjectModel(3, "obj_000003", cube_mesh, cube_mesh.vertices[:4], np.eye(4)[None], 138.6),
    ]
    records = []
    for model in objects:
        write_mesh(run / f"models/{model.name}.ply", model.mesh)
        records.append(object_to_record(model, f"models/{model.name}.ply"))
    (run / "objects.json").write_text(json.dumps({"format": 1, "objects": records}))
    notes = {
        "machine": "a desk",
        "samples": 12345,
        "train": {"labels": "shape", "sample": {"margin": 1.3}, "loss": {"sigma": 1.25}},
    }
    save_network(run / "network.safetensors", network, notes)
    return run


@pytest.mark.slow
def test_a_keypoint_network_may_compute_in_eight_bits(run, tmp_path, monkeypatch):
    """When it is exported, or from then on, but once."""
    pytest.importorskip("nncf")
    half, small, new = (tmp_path / f"{name}.heatpose" for name in ("half", "small", "new"))
    export_run(run, half)
    report, _ = change_bundle(half, small, int8_keypoints=True)
    before, after = read_bundle(half), read_bundle(small)
    assert len(after.network) < 0.7 * len(before.network)
    assert report.exact.heatmaps > 0 and str(report.exact) in after.card
    assert "stored as int8" in after.card and "stored as float16" in before.card
    with pytest.raises(BundleError, match="cannot be trained on, nor quantised again"):
        change_bundle(small, new, int8_keypoints=True)
    assert not new.exists()
    monkeypatch.setattr(export, "_in_eight_bits", lambda *_: (after.network, report))
    assert export_run(run, new, int8_keypoints=True) == (report, None)
    assert read_bundle(new).network == after.network and "stored as int8" in read_bundle(new).card


@pytest.mark.slow
def test_a_run_becomes_a_bundle_that_sees_the_same(run, tmp_path, network):
    report, _ = export_run(
        run,
        tmp_path / "toys.heatpose",
        notes="AR 0.99",
        attribution="by hand, CC0",
        object_names={3: "cube"},
    )
    bundle = read_bundle(tmp_path / "toys.heatpose")

    assert [(o.object_id, o.name) for o in bundle.objects] == [(7, "obj_000007"), (3, "cube")]
    assert (bundle.name, bundle.crop.size, bundle.crop.margin) == ("toys", SIZE, 1.3)
    assert (bundle.crop.stride, bundle.crop.sigma, bundle.crop.labels) == (4, 1.25, "shape")
    origin = bundle.provenance
    assert (origin.heatpose, origin.machine) == (heatpose.__version__, "a desk")
    assert (origin.samples, origin.network) == (12345, asdict(network.config))
    for text in (
        "AR 0.99",
        "than its shape does",
        "by hand, CC0",
        "12,345 views",
        "| 3 | cube | 138.6 | none |",
    ):
        assert text in bundle.card

    assert str(report.exact) in bundle.card
    turns = [len(one.shape_symmetries["symmetries_discrete"]) for one in bundle.objects]
    assert turns == [3, 23]  # a brick's and a cube's

    crops, index, _ = rendered_crops(bundle.objects, SIZE, 1.3)
    heatmaps = open_predictor(bundle.network, precision="f32")(crops, index)
    truth = TorchPredictor(network)(crops, index)
    np.testing.assert_allclose(heatmaps, truth, atol=0.02)
    assert report.exact.median < 0.02 and report.exact.n_keypoints > 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fusion", "inputs"), [("cross", ["crops", "depth"]), ("depth", ["depth"])]
)
def test_a_bundle_says_that_its_network_looks_at_depth(run, tmp_path, network, fusion, inputs):
    """And its estimator hands depth on, whichever engine runs the network."""
    torch.manual_seed(0)
    both = KeypointNet(replace(network.config, fusion=fusion)).eval()
    with torch.no_grad():
        both.head.weight.normal_(std=20.0)
        for parameter in both.fusion.parameters() if both.fusion else ():
            parameter.normal_(std=0.05)
    save_network(run / "network.safetensors", both, {})
    report, _ = export_run(run, tmp_path / "toys.heatpose")
    bundle = read_bundle(tmp_path / "toys.heatpose")
    assert bundle.crop.inputs == inputs
    assert "`depth`, float32 (b, 2, 64, 64)" in bundle.card
    assert ("`crops`" in bundle.card) == ("crops" in inputs)
    assert report.exact.median < 0.05

    camera = Camera(fx=300, fy=300, cx=79.5, cy=59.5, width=160, height=120)
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    wall = np.linspace(500, 700, 160, dtype=np.float32) * np.ones((120, 1), np.float32)
    observation, box = Observation(image, camera, wall), Detection(7, (40.0, 30, 110, 100), 1.0)
    for backend in ("openvino", "onnxruntime"):
        estimator = PoseEstimator.from_bundle(bundle, backend=backend)
        assert estimator.wants_depth
        crops, _ = estimator.crop(observation, [box])
        depth = estimator.crop_depth(observation, [box])
        assert depth[0, 1].all() and np.ptp(depth[0, 0]) > 0.3
        heatmaps = estimator.predictor(crops, np.array([0]), depth)
        truth = TorchPredictor(both)(crops, np.array([0]), depth)
        np.testing.assert_allclose(heatmaps, truth, atol=0.05)
        estimator(observation, [box])  # goes through


@pytest.mark.slow
def test_an_export_that_differs_is_not_written(run, tmp_path, monkeypatch):
    other = KeypointNet(load_network(run / "network.safetensors")[0].config)
    monkeypatch.setattr(export, "export_network", lambda _: export_network(other))
    with pytest.raises(CheckpointError, match="exported network differs from the trained one"):
        export_run(run, tmp_path / "toys.heatpose")
    assert not (tmp_path / "toys.heatpose").exists()


def test_names_are_for_known_objects(run, tmp_path):
    with pytest.raises(UnknownObjectError, match=r"object 4 is not one of \[7, 3\]"):
        export_run(run, tmp_path / "toys.heatpose", object_names={4: "cat"})


def test_objects_must_be_the_networks(run, tmp_path):
    content = json.loads((run / "objects.json").read_text())
    content["objects"].pop()
    (run / "objects.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="1 objects but a network for 2"):
        export_run(run, tmp_path / "toys.heatpose")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read .*objects.json: No such file"),
        ("{", "is not an objects.json"),
        ('{"format": 9, "objects": []}', "has format 9, this heatpose reads 1"),
    ],
)
def test_wrong_run_folders_are_explained(run, tmp_path, text, message):
    (run / "objects.json").unlink()
    if text is not None:
        (run / "objects.json").write_text(text)
    with pytest.raises(DataError, match=message):
        export_run(run, tmp_path / "toys.heatpose")


@pytest.fixture
def detectors(monkeypatch):
    """What stands for the export of a detector's run: the run's name, for objects by name."""
    known = {"both": [3, 7], "more": [7, 31, 3], "less": [7, 12]}

    def bundled_detector(run, objects, *, int8, threshold, image_sizes=None):
        settings = DetectorSettings(
            object_ids=known[run.name],
            image_sizes=image_sizes or [320],
            threshold=threshold,
            weights="int8" if int8 else "float16",
            network={"size": "n", "backbone": "resnet18" if run.name == "more" else "yolov10"},
            training={"seed": 5},
            samples=4321,
            datasets=["scenes"],
            machine="a shelf",
        )
        return BundledDetector(run.name.encode(), settings), Difference(0.5, 0.02, 9)

    monkeypatch.setattr(export, "bundled_detector", bundled_detector)


@pytest.mark.slow
def test_a_bundle_can_be_written_with_a_detector(run, tmp_path, detectors):
    _, found = export_run(run, tmp_path / "toys.heatpose", detector=Path("both"), threshold=0.4)
    bundle = read_bundle(tmp_path / "toys.heatpose")
    assert bundle.detector.network == b"both"
    assert (bundle.detector.settings.threshold, bundle.detector.settings.weights) == (
        0.4,
        "float16",
    )
    assert found == (
        "boxes at most 0.50 px and scores at most 0.020 apart, of 9 in rendered pictures"
    )
    for text in (
        found,
        "YOLOv10n",
        "4,321 samples of scenes",
        "a shelf",
        "from a score of 0.4",
    ):
        assert text in bundle.card
    assert "does not know" not in bundle.card and "trunk" not in bundle.card


@pytest.fixture
def plain(tmp_path, cube_mesh, brick_mesh):
    """A bundle without a detector, and its file."""
    objects = (
        ObjectModel(7, "brick", brick_mesh, brick_mesh.vertices[:4], np.eye(4)[None], 161.6),
        ObjectModel(3, "cube", cube_mesh, cube_mesh.vertices[:4], np.eye(4)[None], 138.6),
    )
    crop = CropSettings(size=SIZE, margin=1.3, stride=4, sigma=1.25)
    texts = {"heatpose": "0", "date": "2026-11-22", "machine": "", "meshes": "", "notes": "AR 0.99"}
    provenance = Provenance(network={}, training={}, samples=None, **texts)
    card = write_card("first", objects, crop, provenance, "0.01 px")
    bundle = Bundle("first", objects, crop, b"network", provenance, card)
    write_bundle(tmp_path / "first.heatpose", bundle)
    return bundle


def test_all_else_of_a_bundle_stays_when_its_keypoints_go_into_eight_bits(
    plain, tmp_path, network, monkeypatch
):
    once = Calibration((0.0,) * 6, 0.0, (1.0, 2.0, 3.0))
    card = with_calibration(plain.card, once, "9 poses of toys", "all went well")
    origin = plain.provenance.model_copy(update={"network": asdict(network.config)})
    before = replace(plain, provenance=origin).with_calibration(once, card)
    write_bundle(tmp_path / "first.heatpose", before)
    report = ExportReport(Agreement(0.5, 2.0, 0.1, 9), Agreement(0.5, 2.0, 0.1, 9), "f32")

    def import_network(content, config):
        assert (content, config) == (plain.network, network.config)
        return network

    def in_eight_bits(found, objects, crop):
        assert found is network and not found.training
        assert ([o.object_id for o in objects], crop) == ([7, 3], plain.crop)
        return b"small", report

    monkeypatch.setattr(export, "import_network", import_network)
    monkeypatch.setattr(export, "_in_eight_bits", in_eight_bits)
    small = tmp_path / "small.heatpose"
    assert change_bundle(tmp_path / "first.heatpose", small, int8_keypoints=True) == (report, None)
    after = read_bundle(small)
    assert (after.name, after.network, after.calibrations) == ("small", b"small", (once,))
    assert after.card == card.replace("float16", "int8").replace(
        "0.01 px", "0.500 px in the median, 2.000 px in 95 %"
    )
    assert "int8" in after.card and with_weights("A card.", "int8", "far") == "A card."


def test_a_detector_takes_the_place_of_another(plain, tmp_path, detectors):
    """The keypoint network stays, and on the card its part; of the first detector nothing."""
    first, second = tmp_path / "first.heatpose", tmp_path / "second.heatpose"
    change_bundle(first, second, detector=Path("less"))
    change_bundle(second, second, detector=Path("more"), int8=True, image_sizes=[448, 640])
    bundle = read_bundle(second)
    assert bundle.detector.settings.image_sizes == [448, 640]
    assert (bundle.network, bundle.crop) == (plain.network, plain.crop)
    assert bundle.name == "second" and bundle.provenance == plain.provenance
    assert (bundle.detector.network, bundle.detector.settings.weights) == (b"more", "int8")
    assert bundle.card.startswith(plain.card.rstrip("\n"))
    assert "It is a YOLOv10n behind the trunk of a keypoint network, for pictures" in bundle.card
    assert "longer side is 448 and 640 px" in bundle.card
    assert (
        bundle.card.count("## The detector") == 1 and "12" not in bundle.card.split("detector\n")[1]
    )


def test_what_a_card_says_of_probabilities_is_said_once_and_outlives_a_detector(
    plain, tmp_path, detectors
):
    once = Calibration((0.0,) * 6, 0.0, (1.0, 2.0, 3.0))
    card = with_calibration(plain.card, once, "9 poses of toys", "all went well")
    often = replace(once, looks=3, passes=2)
    card = with_calibration(card, often, "15 poses of toys", "it went best")
    bare = replace(once, outline=False)
    card = with_calibration(card, bare, "11 poses of toys", "it went quickly")
    card = with_calibration(card, once, "12 poses of toys", "it went better")
    assert "* 1 x 1, without outlines: learned on 11 poses" in card
    assert card.count("## How sure it is") == 1 and "9 poses" not in card
    assert "* 3 x 2: learned on 15 poses of toys; checked, it went best.\n" in card
    write_bundle(tmp_path / "first.heatpose", replace(plain, card=card))
    first, second = tmp_path / "first.heatpose", tmp_path / "second.heatpose"
    change_bundle(first, second, detector=Path("less"))
    card = read_bundle(tmp_path / "second.heatpose").card
    assert card.startswith(plain.card.rstrip("\n"))
    assert card.index("## The detector") < card.index("## How sure it is")
    assert "12 poses of toys" in card and "it went better" in card


def test_the_card_says_which_objects_only_one_of_the_networks_knows(plain, tmp_path, detectors):
    change_bundle(tmp_path / "first.heatpose", tmp_path / "less.heatpose", detector=Path("less"))
    card = read_bundle(tmp_path / "less.heatpose").card
    assert "Warning: it does not know cube (3), which are never found" in card
    assert "Detections of the objects 12 are passed over" in card
