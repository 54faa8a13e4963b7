import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from heatpose.create.meshes import look_at, read_written, write_models
from heatpose.create.networks import finder_sizes, train_finder, train_pose_network
from heatpose.create.plan import CreateConfig
from heatpose.export.bundled_detector import image_size_of
from heatpose.geometry.camera import Camera
from heatpose.model.detector_weights import load_detector
from heatpose.train.start import open_trained

TINY = CreateConfig(
    on_device=True, crop_size=64, image_size=96, keypoint_batch=4, detector_batch=4, workers=1
)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the library that trains
@pytest.mark.parametrize(
    "train", [train_pose_network, partial(train_finder, keypoints=Path("not asked for"))]
)
def test_networks_are_trained_without_scenes_where_samples_are_drawn_on_the_device(
    meshes, tmp_path, train
):
    write_models(look_at(meshes, None), tmp_path / "models")
    train(tmp_path / "run", read_written(tmp_path / "models"), [], 8, TINY, 1)
    trained = json.loads((tmp_path / "run" / "train.json").read_text())["config"]
    assert trained["drawing"]["points"] > 0
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text())["samples"] == 8
    if train is not train_pose_network:  # frames are drawn whole, and looked at in that size
        assert image_size_of(trained) == 96
    else:
        assert trained["labels"] == "shape"


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        (CreateConfig(camera=Camera(600, 600, 319.5, 239.5, 640, 480)), [512, 800]),
        (CreateConfig(camera=Camera(600, 600, 239.5, 319.5, 480, 640), image_size=96), [512, 800]),
        (CreateConfig(camera=Camera(2000, 2000, 959.5, 539.5, 1920, 1080)), [512, 800]),
        (CreateConfig(camera=Camera(150, 150, 79.5, 59.5, 160, 120)), [128, 192]),
        (CreateConfig(on_device=True, image_size=320), [256, 384]),
    ],
    ids=["vga", "upright", "hd", "small", "on device"],
)
def test_a_detector_looks_at_frames_a_little_smaller_and_larger_than_in_training(config, sizes):
    assert finder_sizes(config) == sizes


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the library that trains
def test_networks_start_from_those_of_other_objects(meshes, tmp_path):
    write_models(look_at(meshes, None), tmp_path / "models")
    models = read_written(tmp_path / "models")
    train_pose_network(tmp_path / "other", models, [], 8, TINY, 1)
    config = replace(TINY, init=tmp_path / "other", seed=5)
    train_pose_network(tmp_path / "keypoints", models[::-1], [], 8, config, 1)
    train_finder(tmp_path / "finder", models, [], 8, config, 1, keypoints=tmp_path / "keypoints")
    other, after = (open_trained(tmp_path / name).network for name in ("other", "keypoints"))
    assert torch.equal(after.trunk.conv1.weight, other.trunk.conv1.weight)  # kept as it is
    assert not torch.equal(after.trunk.layer3[0].conv1.weight, other.trunk.layer3[0].conv1.weight)
    finder, _ = load_detector(tmp_path / "finder" / "network.safetensors")
    assert finder.config.backbone == "resnet18"
    for name, tensor in finder.backbone.trunk.state_dict().items():
        assert torch.equal(tensor, after.trunk.state_dict()[name]), name


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the library that trains
def test_a_detector_starts_from_one_of_other_objects(meshes, tmp_path, caplog):
    write_models(look_at(meshes, None), tmp_path / "models")
    models = read_written(tmp_path / "models")
    nowhere = tmp_path / "not asked for"
    train_finder(tmp_path / "other", models[:1], [], 8, TINY, 1, keypoints=nowhere)
    first = tmp_path / "other" / "network.safetensors"
    config = replace(TINY, init=nowhere, detector_init=first)
    with caplog.at_level("INFO"):
        train_finder(tmp_path / "finder", models, [], 8, config, 1, keypoints=nowhere)
    assert f"weights from {first}, 12 of 594 tensors from scratch" in caplog.text
    finder, _ = load_detector(tmp_path / "finder" / "network.safetensors")
    assert (finder.config.backbone, finder.config.n_classes) == ("yolov10", 2)
