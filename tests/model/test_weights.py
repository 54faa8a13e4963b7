import json
import logging
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from heatpose.errors import CheckpointError
from heatpose.model.network import KeypointNet, NetworkConfig
from heatpose.model.weights import load_backbone, load_network, save_network

CONFIG = NetworkConfig(n_objects=2, n_keypoints=3, activation="silu", decoder_channels=16)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return KeypointNet(CONFIG)


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "network.safetensors"
    save_network(path, network.to(memory_format=torch.channels_last), {"steps": 7, "name": "ö"})
    return path


def rewrite(saved, path, change):
    """Write a changed copy of a network's file; `change` gets tensors and header."""
    from heatpose.model.weights import read_safetensors

    tensors, metadata = read_safetensors(saved)
    header = json.loads(metadata["heatpose"])
    change(tensors, header)
    save_file(tensors, path, metadata={"heatpose": json.dumps(header)})
    return path


def test_load_undoes_save(network, saved):
    found, notes = load_network(saved)
    assert found.config == CONFIG and notes == {"steps": 7, "name": "ö"}
    assert not found.training
    state = found.state_dict()
    assert state.keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        assert torch.equal(state[name], tensor), name


def test_a_failed_save_leaves_the_previous_file(network, saved, tmp_path):
    path = tmp_path / "network.safetensors"
    path.write_bytes(saved.read_bytes())
    with pytest.raises(TypeError):
        save_network(path, network, {"not json": {1, 2}})
    assert path.read_bytes() == saved.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["network.safetensors"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, h: h.update(format=2), "has format 2, this heatpose reads 1"),
        (lambda t, h: h.pop("config"), "is not a network written by heatpose"),
        (lambda t, h: h["config"].update(colour="red"), "config that cannot be used.*'colour'"),
        (lambda t, h: h["config"].update(crop_size=100), "divisible by 32, got 100"),
        (lambda t, h: t.pop("head.bias"), "lacks head.bias"),
        (lambda t, h: t.update(extra=torch.zeros(1)), "has extra, which does not belong there"),
        (
            lambda t, h: t.update({"head.bias": torch.zeros(2, 4)}),
            r"head.bias of shape \(2, 4\), expected \(2, 3\)",
        ),
    ],
)
def test_a_file_that_is_not_quite_ours_is_refused(saved, tmp_path, change, message):
    path = rewrite(saved, tmp_path / "changed.safetensors", change)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_network(path)
    assert str(caught.value).startswith(str(path))


def test_missing_and_broken_files_are_named(saved, tmp_path):
    with pytest.raises(CheckpointError, match=r"absent.safetensors"):
        load_network(tmp_path / "absent.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(saved.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"cut.safetensors cannot be read as safetensors"):
        load_network(cut)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, foreign)
    with pytest.raises(CheckpointError, match=r"foreign.safetensors is not a network"):
        load_network(foreign)


@pytest.fixture(scope="module")
def imagenet():
    """What a file of torchvision's holds, with made-up numbers."""
    torch.manual_seed(1)
    state = {name: t.clone() for name, t in KeypointNet(CONFIG).trunk.state_dict().items()}
    return {**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


def write_tensors(tensors, path):
    if path.suffix == ".pth":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_whole_backbone_fills_the_whole_trunk(imagenet, tmp_path, suffix):
    network = KeypointNet(CONFIG)
    decoder = network.decoder.laterals[0].weight.clone()
    report = load_backbone(network, write_tensors(imagenet, tmp_path / f"resnet18{suffix}"))
    own = network.trunk.state_dict()
    assert report.loaded == tuple(own) and report.from_scratch == ()
    assert all(torch.equal(own[name], imagenet[name]) for name in own)
    assert torch.equal(network.decoder.laterals[0].weight, decoder)


def test_an_older_file_without_batch_counters_is_whole(imagenet, tmp_path):
    older = {n: t for n, t in imagenet.items() if not n.endswith("num_batches_tracked")}
    report = load_backbone(KeypointNet(CONFIG), write_tensors(older, tmp_path / "older.pth"))
    assert report.from_scratch == ()


def test_a_partial_backbone_is_refused_unless_asked_for(imagenet, tmp_path, caplog):
    part = {n: t for n, t in imagenet.items() if "layer4" not in n or "downsample" in n}
    path = write_tensors(part, tmp_path / "part.safetensors")
    network = KeypointNet(CONFIG)
    before = {name: t.clone() for name, t in network.trunk.state_dict().items()}
    # two blocks of two convolutions, each with a batch norm of four tensors and a counter
    with pytest.raises(CheckpointError, match=r"lacks 20 tensors of a ResNet-18: layer4\.0\.conv1"):
        load_backbone(network, path)

    with caplog.at_level(logging.INFO):
        report = load_backbone(network, path, partial=True)
    assert len(report.from_scratch) == 20 and len(report.loaded) == len(before) - 20
    assert "tensors of the trunk from part.safetensors, 20 from scratch: layer4" in caplog.text
    own = network.trunk.state_dict()
    for name in set(report.loaded) & set(part):
        assert torch.equal(own[name], imagenet[name])
    for name in report.from_scratch:
        if name.endswith("bn2.weight"):
            assert not own[name].any()  # the block starts as its shortcut
        else:
            assert torch.equal(own[name], before[name])


def test_a_backbone_of_another_network_is_refused(imagenet, tmp_path):
    wider = {**imagenet, "layer1.0.conv1.weight": torch.zeros(128, 64, 3, 3)}
    network = KeypointNet(CONFIG)
    with pytest.raises(CheckpointError, match=r"conv1.weight of shape \(128, 64, 3, 3\)"):
        load_backbone(network, write_tensors(wider, tmp_path / "wider.safetensors"), partial=True)
    deeper = {**imagenet, "layer1.2.conv1.weight": torch.zeros(64, 64, 3, 3)}
    with pytest.raises(CheckpointError, match=r"has layer1.2.conv1.weight, which does not belong"):
        load_backbone(network, write_tensors(deeper, tmp_path / "deeper.safetensors"))


def test_a_refused_backbone_changes_nothing(imagenet, tmp_path):
    part = {n: t for n, t in imagenet.items() if "layer4" not in n}
    part["conv1.weight"] = torch.zeros(64, 3, 3, 3)
    network = KeypointNet(CONFIG)
    before = {name: t.clone() for name, t in network.state_dict().items()}
    with pytest.raises(CheckpointError):
        load_backbone(network, write_tensors(part, tmp_path / "a.safetensors"), partial=True)
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())


def test_a_pth_that_is_no_state_dict_is_refused(tmp_path):
    network = KeypointNet(CONFIG)
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(CheckpointError, match=r"text.pth cannot be read as a state dict"):
        load_backbone(network, tmp_path / "text.pth")
    with pytest.raises(CheckpointError, match=r"list.pth is not a state dict of tensors"):
        load_backbone(network, write_tensors([torch.zeros(1)], tmp_path / "list.pth"))
    with pytest.raises(CheckpointError, match=r"absent.pth"):
        load_backbone(network, tmp_path / "absent.pth")


@pytest.mark.real
def test_batch_norms_of_the_real_backbone_know_photographs(real_data):
    network = KeypointNet(NetworkConfig(n_objects=1))
    path = real_data / "weights" / "resnet18_imagenet_to_layer3.safetensors"
    report = load_backbone(network, path, partial=True)
    assert all(n.startswith("layer4") for n in report.from_scratch)
    photos = sorted((real_data / "backgrounds" / "photos").glob("*.jpg"))[:16]
    images = [
        cv2.resize(cv2.imread(str(p)), (128, 128), interpolation=cv2.INTER_AREA) for p in photos
    ]
    crops = torch.tensor(np.stack(images)[..., ::-1].copy()).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        normalised = (crops - network.mean) / network.std
        by_file, by_batch = network.eval().trunk(normalised), network.train().trunk(normalised)
    for at_test, in_training in zip(by_file, by_batch, strict=True):
        assert float(at_test.std() / in_training.std()) == pytest.approx(1, abs=0.1)


def test_a_network_of_depth_alone_takes_all_but_the_first_convolution(imagenet, tmp_path):
    network = KeypointNet(replace(CONFIG, fusion="depth"))
    first = network.trunk.conv1.weight.clone()
    report = load_backbone(network, write_tensors(imagenet, tmp_path / "resnet18.safetensors"))
    own = network.trunk.state_dict()
    assert report.from_scratch == ("conv1.weight",)
    assert torch.equal(own["conv1.weight"], first)
    assert all(torch.equal(own[name], imagenet[name]) for name in report.loaded)
