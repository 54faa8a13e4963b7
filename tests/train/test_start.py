from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from heatpose.data.batch_samples import DrawingConfig
from heatpose.data.bop import BopDataset
from heatpose.data.samples import SampleConfig, SampleMaker
from heatpose.data.scene_samples import MixedSampleMaker
from heatpose.errors import CheckpointError
from heatpose.export.onnx import trace_network
from heatpose.model.network import NetworkConfig
from heatpose.model.weights import save_network
from heatpose.runtime.bundle import Bundle, write_bundle
from heatpose.runtime.bundle_record import CropSettings, Provenance
from heatpose.train.start import (
    make_batches,
    make_maker,
    make_network,
    open_trained,
    training_device,
)

CONFIG = NetworkConfig(n_objects=2, n_keypoints=8, decoder_channels=16, crop_size=64)


def test_the_same_seed_gives_the_same_weights():
    first, again = make_network(CONFIG, 3), make_network(CONFIG, 3)
    other = make_network(CONFIG, 4)
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


@pytest.fixture
def other_run(keypoint_run):
    """The weights of a run, their file and by name."""
    return keypoint_run(CONFIG)


def test_weights_of_another_run_are_taken_over_at_another_crop_size(other_run, objects):
    file, theirs = other_run
    larger = replace(CONFIG, crop_size=128)
    network = make_network(larger, 9, init=file, objects=objects)
    assert network.config.crop_size == 128 and network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, theirs[name]), name


def test_heads_follow_their_objects_and_new_objects_begin_afresh(other_run, objects):
    file, theirs = other_run
    new = replace(objects[0], object_id=77)
    ours = [objects[1], new, objects[0]]
    network = make_network(replace(CONFIG, n_objects=3), 9, init=file, objects=ours)
    assert torch.equal(network.head.weight[[2, 0]], theirs["head.weight"])
    fresh = make_network(replace(CONFIG, n_objects=3), 9)
    assert torch.equal(network.head.weight[1], fresh.head.weight[1])
    assert torch.equal(network.trunk.conv1.weight, theirs["trunk.conv1.weight"])


def test_a_smaller_trunk_takes_the_stages_that_it_has(other_run, objects):
    file, theirs = other_run
    smaller = make_network(replace(CONFIG, stages=3), 9, init=file, objects=objects)
    for name, value in smaller.state_dict().items():
        assert torch.equal(value, theirs[name]), name


def test_keypoints_are_known_again_by_their_place_and_others_begin_afresh(
    other_run, objects, caplog
):
    """Three of eight keypoints, in another order, and one that is new."""
    file, theirs = other_run
    places = objects[1].keypoints[[6, 0, 3]]
    new = places[:1] + 5.0
    ours = [replace(objects[1], keypoints=np.concatenate([places[:2], new, places[2:]]))]
    config = replace(CONFIG, n_objects=1, n_keypoints=4)
    with caplog.at_level("INFO"):
        network = make_network(config, 9, init=file, objects=ours)
    assert torch.equal(network.head.weight[0, [0, 1, 3]], theirs["head.weight"][1, [6, 0, 3]])
    assert torch.equal(network.head.bias[0, [0, 1, 3]], theirs["head.bias"][1, [6, 0, 3]])
    assert torch.equal(network.head.weight[0, 2], make_network(config, 9).head.weight[0, 2])
    assert f"{ours[0].object_id} (3 of 4 keypoints)" in caplog.text


def test_a_run_is_opened_by_its_folder_or_its_weights(other_run):
    file, theirs = other_run
    for path in (file, file.parent):
        trained = open_trained(path)
        assert torch.equal(trained.network.head.weight, theirs["head.weight"])
        assert [one.object_id for one in trained.objects] == [3, 7]


@pytest.mark.slow
def test_a_bundle_can_be_trained_on(tmp_path, objects):
    other = make_network(CONFIG, 3)
    write_bundle(
        tmp_path / "other.heatpose",
        Bundle(
            name="other",
            objects=tuple(objects),
            crop=CropSettings(size=64, margin=1.4, stride=4, sigma=1.5),
            network=trace_network(other),
            provenance=Provenance(
                heatpose="0",
                date="2026-01-01",
                network=asdict(CONFIG),
                training={},
                samples=None,
                machine="",
                meshes="",
                notes="",
            ),
            card="",
        ),
    )
    network = make_network(CONFIG, 9, init=tmp_path / "other.heatpose", objects=objects)
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def save_run(other_run, fusion):
    """Put a network that does something with depth into the run folder; return its weights."""
    file, _ = other_run
    other = make_network(replace(CONFIG, fusion=fusion), 3)
    for parameter in other.fusion.parameters() if other.fusion else ():
        torch.nn.init.normal_(parameter)
    save_network(file, other, {})
    return other.state_dict()


@pytest.mark.parametrize("fusion", ["early", "late", "cross"])
def test_a_network_of_colours_and_depth_starts_from_one_of_colours(
    other_run, objects, fusion, caplog
):
    """Trunk, decoder and heads are taken over, and it sees what that one sees."""
    file, theirs = other_run
    with caplog.at_level("INFO"):
        network = make_network(replace(CONFIG, fusion=fusion), 9, init=file, objects=objects)
    own = network.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in theirs.items())
    assert "from scratch: fusion." in caplog.text
    crops, depth = torch.rand(2, 3, 64, 64), torch.rand(2, 2, 64, 64)
    index, colours = torch.tensor([0, 1]), make_network(CONFIG, 9, init=file, objects=objects)
    torch.testing.assert_close(network.eval()(crops, index, depth), colours.eval()(crops, index))


def test_a_network_of_colours_starts_from_one_of_colours_and_depth(other_run, objects):
    theirs = save_run(other_run, "cross")
    network = make_network(CONFIG, 9, init=other_run[0], objects=objects)
    assert all(torch.equal(theirs[n], tensor) for n, tensor in network.state_dict().items())


def test_what_both_have_for_depth_is_taken_over(other_run, objects):
    theirs = save_run(other_run, "late")
    network = make_network(replace(CONFIG, fusion="cross"), 9, init=other_run[0], objects=objects)
    own = network.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in theirs.items())
    assert {n.split(".")[1] for n in own.keys() - theirs.keys()} == {"to_depth"}


def test_a_network_of_depth_alone_begins_afresh_where_it_looks(other_run, objects, caplog):
    file, theirs = other_run
    with caplog.at_level("INFO"):
        network = make_network(replace(CONFIG, fusion="depth"), 9, init=file, objects=objects)
    own = network.state_dict()
    assert own["trunk.conv1.weight"].shape[1] == 2
    assert all(torch.equal(own[n], t) for n, t in theirs.items() if n != "trunk.conv1.weight")
    assert "from scratch: trunk.conv1" in caplog.text


def test_a_network_of_another_kind_is_refused_by_name(other_run):
    with pytest.raises(CheckpointError, match="has decoder_channels 16, this run has 32"):
        make_network(replace(CONFIG, decoder_channels=32), 0, init=other_run[0])


@pytest.mark.parametrize(("share", "kind"), [(1.0, MixedSampleMaker), (0.0, SampleMaker)])
def test_samples_come_from_scenes_where_there_are_some(small_bop, objects, share, kind):
    brick = replace(objects[0], object_id=1)  # as in the scenes
    scenes = [BopDataset(small_bop())]
    maker = make_maker([brick], None, SampleConfig(crop_size=64), scenes, share)
    assert isinstance(maker, kind)
    sample = maker(np.random.default_rng(0))
    assert (sample.camera.fx / sample.camera.fy == pytest.approx(150 / 152)) == (share == 1.0)


def test_without_scenes_samples_are_rendered(objects):
    assert isinstance(make_maker(objects, None, SampleConfig(crop_size=64)), SampleMaker)


def test_batches_are_of_the_objects_of_the_maker_and_drawn_where_training_is(objects, caplog):
    config = SampleConfig(crop_size=64)
    maker = make_maker(objects, None, config)
    with caplog.at_level("INFO"):
        batches = make_batches(maker, None, config, DrawingConfig())
    assert batches.config == config and batches.device == training_device()
    assert f"samples are drawn on {training_device()}" in caplog.text
    assert batches.shapes.diameters.tolist() == pytest.approx([o.diameter for o in objects])


@pytest.mark.parametrize(
    ("gpus", "process", "device"),
    [
        (False, None, "cpu"),
        (False, "1", "cpu"),
        (True, None, "cuda:0"),
        (True, "0", "cuda:0"),
        (True, "3", "cuda:3"),
    ],
)
def test_each_process_draws_on_the_gpu_that_it_trains_on(monkeypatch, gpus, process, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if process is not None:
        monkeypatch.setenv("LOCAL_RANK", process)
    assert training_device() == torch.device(device)
