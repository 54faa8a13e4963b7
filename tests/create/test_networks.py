import json

import pytest

from heatpose.create.meshes import look_at, read_written, write_models
from heatpose.create.networks import train_finder, train_pose_network
from heatpose.create.plan import CreateConfig
from heatpose.export.bundled_detector import image_size_of


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the library that trains
@pytest.mark.parametrize("train", [train_pose_network, train_finder])
def test_networks_are_trained_without_scenes_where_samples_are_drawn_on_the_device(
    meshes, tmp_path, train
):
    write_models(look_at(meshes, None), tmp_path / "models")
    config = CreateConfig(
        on_device=True, crop_size=64, image_size=96, keypoint_batch=4, detector_batch=4, workers=1
    )
    train(tmp_path / "run", read_written(tmp_path / "models"), [], 8, config, 1)
    trained = json.loads((tmp_path / "run" / "train.json").read_text())["config"]
    assert trained["drawing"]["points"] > 0
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text())["samples"] == 8
    if train is train_finder:  # frames are drawn whole, and are to be looked at in that size
        assert image_size_of(trained) == 96
