import numpy as np
import pytest
import torch

import heatpose.export.bundled_detector as export
from heatpose.errors import CheckpointError, UnknownObjectError
from heatpose.export.bundled_detector import bundled_detector, described, rendered_pictures
from heatpose.export.detector import Difference
from heatpose.geometry.camera import Camera
from heatpose.model.detector_weights import save_detector
from heatpose.model.yolov10 import YoloConfig, YoloV10
from heatpose.objects.catalogue import ObjectModel
from heatpose.runtime.detector import ObjectDetector
from heatpose.types import Observation

SIZE = 96


@pytest.fixture(scope="module")
def network():
    """Random weights that take everything for the class of object 7, which comes last."""
    torch.manual_seed(0)
    network = YoloV10(YoloConfig(3, "n")).train()
    with torch.no_grad():
        for _ in range(20):  # batch norms that know what comes
            network(torch.rand(2, 3, 64, 64))
        for branch in network.one2one.classes:
            branch[-1].weight.normal_(std=0.5)
            branch[-1].bias.copy_(torch.tensor([-12.0, -12, 0]))
    return network.eval()


@pytest.fixture
def objects(cube_mesh, brick_mesh):
    return [
        ObjectModel(7, "brick", brick_mesh, brick_mesh.vertices, np.eye(4)[None], 161.6),
        ObjectModel(3, "cube", cube_mesh, cube_mesh.vertices, np.eye(4)[None], 138.6),
    ]


@pytest.fixture
def run(tmp_path, network):
    """A run folder, as far as its network is concerned."""
    notes = {
        "object_ids": [3, 31, 7],
        "samples": 12,
        "machine": "a desk",
        "train": {"image_size": SIZE, "seed": 4},
    }
    save_detector(tmp_path / "network.safetensors", network, notes)
    return tmp_path


@pytest.mark.slow
def test_what_is_bundled_sees_what_was_trained(run, network, objects):
    detector, difference = bundled_detector(run, objects, threshold=0.3)
    settings = detector.settings
    assert (settings.object_ids, settings.image_sizes) == ([3, 31, 7], [SIZE])
    assert (settings.threshold, settings.weights, settings.samples) == (0.3, "float16", 12)
    assert (settings.network["size"], settings.training["seed"]) == ("n", 4)
    assert difference.n_detections > 0 and difference.boxes < 0.5 and difference.scores < 0.02

    smaller, _ = bundled_detector(run, objects, image_sizes=[64])
    assert smaller.settings.image_sizes == [64]

    picture = rendered_pictures(objects, SIZE, 1)[0]
    camera = Camera(100.0, 100, 48, 48, SIZE, SIZE)
    runtime = ObjectDetector(
        detector.network, settings.object_ids, image_sizes=[SIZE], threshold=0.0, precision="f32"
    )
    best = runtime(Observation(picture, camera))[0]
    inputs = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        row = network.detect(inputs)[0, 0].numpy()
    assert best.score == pytest.approx(float(row[4]), abs=0.02)
    assert best.object_id == 7


@pytest.fixture
def exports(monkeypatch):
    """Exports nothing, and finds the difference that it is told."""
    told = {"difference": Difference(0.1, 0.01, 5), "quantised": []}
    monkeypatch.setattr(export, "export_detector", lambda network: b"float16")
    monkeypatch.setattr(export, "largest_difference", lambda *_, least: told["difference"])

    def quantise(network, images, size):
        told["quantised"].append((network, len(images), images[0].shape, size))
        return b"int8"

    monkeypatch.setattr(export, "quantise_detector", quantise)
    return told


def test_int8_is_calibrated_on_pictures_of_the_objects(run, objects, exports):
    detector, _ = bundled_detector(run, objects, int8=True)
    assert (detector.network, detector.settings.weights) == (b"int8", "int8")
    assert exports["quantised"] == [(b"float16", 64, (SIZE, SIZE, 3), SIZE)]


@pytest.mark.parametrize("difference", [Difference(5.0, 0, 9), Difference(0, 0.2, 9)])
def test_a_float16_export_that_differs_is_refused(run, objects, exports, difference):
    exports["difference"] = difference
    with pytest.raises(
        CheckpointError, match=f"exported detector differs .* {described(difference)}"
    ):
        bundled_detector(run, objects)
    bundled_detector(run, objects, int8=True)  # whose price is told


def test_a_detector_must_know_an_object_of_the_bundle(run, objects, exports):
    strangers = [ObjectModel(8, "x", objects[0].mesh, objects[0].keypoints, np.eye(4)[None], 9.0)]
    with pytest.raises(UnknownObjectError, match=r"finds objects \[3, 31, 7\], none of \[8\]"):
        bundled_detector(run, strangers)


def test_every_class_needs_an_object(tmp_path, network, objects):
    save_detector(tmp_path / "network.safetensors", network, {"object_ids": [3, 7]})
    with pytest.raises(CheckpointError, match="names 2 objects for 3 classes"):
        bundled_detector(tmp_path, objects)


def test_rendered_pictures_show_the_objects(objects):
    first, second = rendered_pictures(objects, SIZE, 2, seed=1)
    assert first.shape == (SIZE, SIZE, 3) and (first != second).mean() > 0.5
    for one, again in zip(
        (first, second), rendered_pictures(objects, SIZE, 2, seed=1), strict=True
    ):
        np.testing.assert_array_equal(one, again)


def test_nothing_found_is_nothing_to_compare():
    assert described(Difference(0.0, 0.0, 0)).startswith("nothing to compare")


@pytest.mark.parametrize(
    ("training", "side"),
    [
        ({"image_size": 640, "sample": {"scale": [0.5, 2.0]}}, 640),
        ({"image_size": 320, "sample": {"scale": [1.0, 4.0]}}, 640),  # windows of a quarter frame
        ({"image_size": 320, "sample": {"scale": [0.5, 2.0]}}, 320),
        ({"image_size": 320, "sample": {"scale": [1.2, 3.2]}}, 640),  # 627, in steps of 32
        ({}, 640),
    ],
)
def test_objects_are_looked_for_at_the_size_that_training_showed_most(training, side):
    assert export.image_size_of(training) == side
