import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from heatpose.data.bop import BopDataset, read_models_info, write_models_info
from heatpose.errors import CheckpointError, DataError, OptionError
from heatpose.model.detector_weights import save_detector
from heatpose.model.network import KeypointNet, NetworkConfig
from heatpose.model.weights import save_network
from heatpose.model.yolov10 import YoloConfig, YoloV10
from heatpose.train.detector_start import (
    make_detector,
    make_unseen,
    objects_to_find,
    open_datasets,
)


def test_a_split_is_for_all_data_sets_or_each_has_its_own(small_bop, tmp_path):
    root = small_bop()
    shutil.copytree(root, tmp_path / "drawn")
    (tmp_path / "drawn" / "test").rename(tmp_path / "drawn" / "train")
    first, second = open_datasets([root, tmp_path / "drawn"], ["test", "train"])
    assert (first.split, second.split) == ("test", "train")
    assert [d.split for d in open_datasets([root, root], ["test"])] == ["test", "test"]
    with pytest.raises(OptionError, match="one for each: 2 for 1"):
        open_datasets([root], ["test", "train"])
    with pytest.raises(DataError, match="no folder train"):
        open_datasets([root], ["train"])


def test_objects_are_those_of_the_ground_truth_or_of_a_models_folder(small_bop, tmp_path):
    dataset = BopDataset(small_bop())
    assert objects_to_find([dataset]) == {1: "", 2: ""}
    infos = read_models_info(dataset.root / "models_eval" / "models_info.json")
    for folder, name in ((dataset.root / "models", "brick"), (tmp_path / "some", "block")):
        folder.mkdir()
        write_models_info(folder / "models_info.json", {1: {**infos[1], "name": name}})
    assert objects_to_find([dataset]) == {1: "brick", 2: ""}
    assert objects_to_find([dataset], tmp_path / "some") == {1: "block"}


def test_unseen_frames_are_shown_as_they_are(small_bop, rng):
    unseen = make_unseen(small_bop(), "test", [1, 2], 160)
    for _ in range(4):
        sample = unseen(rng)
        assert sorted(sample.labels.tolist()) == [0, 1]


def test_the_same_seed_gives_the_same_weights():
    first, again, other = (make_detector(YoloConfig(2, "n"), seed) for seed in (3, 3, 4))
    name = "backbone.stem.conv.weight"
    assert torch.equal(first.state_dict()[name], again.state_dict()[name])
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])


@pytest.mark.slow
def test_weights_of_another_run_are_taken_over_and_its_classes_where_they_are_as_many(tmp_path):
    path = tmp_path / "network.safetensors"
    other = make_detector(YoloConfig(2, "n"), 3)
    save_detector(path, other, {})
    same = make_detector(YoloConfig(2, "n"), 4, path)
    for name, tensor in same.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    assert same.training
    more = make_detector(YoloConfig(5, "n"), 4, path)
    different = {
        name
        for name, tensor in more.state_dict().items()
        if tensor.shape != other.state_dict()[name].shape
    }
    assert different and all(".classes." in name for name in different)
    fresh = make_detector(YoloConfig(5, "n"), 4).state_dict()
    for name, tensor in more.state_dict().items():
        source = fresh if name in different else other.state_dict()
        assert torch.equal(tensor, source[name]), name


def test_other_sizes_and_other_files_are_refused(tmp_path):
    save_detector(tmp_path / "s.safetensors", YoloV10(YoloConfig(2, "s")), {})
    with pytest.raises(CheckpointError, match="has size s, this run has n"):
        make_detector(YoloConfig(2, "n"), 0, tmp_path / "s.safetensors")
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match=r"foreign\.safetensors"):
        make_detector(YoloConfig(2, "n"), 0, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        make_detector(YoloConfig(2, "n"), 0, tmp_path / "nowhere.safetensors")
    with pytest.raises(
        CheckpointError, match=r"lmo\.heatpose is a bundle, whose detector cannot be"
    ):
        make_detector(YoloConfig(2, "n"), 0, tmp_path / "lmo.heatpose")


KEYPOINTS = NetworkConfig(n_objects=2, n_keypoints=8, decoder_channels=16, crop_size=64)
ON_TRUNK = YoloConfig(2, "n", "resnet18")


def test_a_trunk_is_that_of_the_keypoint_network(keypoint_run):
    file, theirs = keypoint_run(KEYPOINTS)
    trunk = make_detector(ON_TRUNK, 4, trunk=file).backbone.trunk.state_dict()
    assert {name.split(".")[0] for name in trunk} == {"conv1", "bn1", "layer1", "layer2", "layer3"}
    for name, tensor in trunk.items():
        assert torch.equal(tensor, theirs[f"trunk.{name}"]), name


def test_a_trunk_that_a_detector_cannot_look_through_is_refused(keypoint_run):
    with pytest.raises(OptionError, match="needs that network"):
        make_detector(ON_TRUNK, 4)
    file, _ = keypoint_run(replace(KEYPOINTS, activation="silu"))
    with pytest.raises(CheckpointError, match="crops with silu: a detector takes one for colours"):
        make_detector(ON_TRUNK, 4, trunk=file)
    save_network(file, KeypointNet(replace(KEYPOINTS, fusion="depth")), {})
    with pytest.raises(CheckpointError, match="depth with relu: a detector takes one for colours"):
        make_detector(ON_TRUNK, 4, trunk=file)


def test_what_lies_behind_a_trunk_starts_from_any_detector_of_the_size(keypoint_run, tmp_path):
    file, _ = keypoint_run(KEYPOINTS)
    start = tmp_path / "start.safetensors"
    for kind in ("yolov10", "resnet18"):
        other = YoloV10(replace(ON_TRUNK, backbone=kind))
        save_detector(start, other, {})
        theirs = other.state_dict()
        for name, tensor in make_detector(ON_TRUNK, 4, start, file).state_dict().items():
            if name.startswith(("neck.", "one2one.", "one2many.", "backbone.attend.")):
                assert torch.equal(tensor, theirs[name]), name
    with pytest.raises(CheckpointError, match="the trunk of a keypoint network: name that too"):
        make_detector(YoloConfig(2, "n"), 4, start)
