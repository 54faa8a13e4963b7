import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from heatpose.errors import CheckpointError
from heatpose.model.detector_weights import (
    _published_name,
    load_detector,
    load_published,
    save_detector,
)
from heatpose.model.network import KeypointNet, NetworkConfig
from heatpose.model.weights import save_network
from heatpose.model.yolov10 import YoloConfig, YoloV10


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return YoloV10(YoloConfig(2, "n")).eval()


def test_a_detector_comes_back_as_it_was_saved(network, tmp_path):
    path = tmp_path / "detector.safetensors"
    save_detector(path, network, {"objects": [1, 5]})
    found, notes = load_detector(path)
    assert (found.config, notes) == (network.config, {"objects": [1, 5]})
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(found.detect(images), network.detect(images), rtol=0, atol=0)


def test_a_file_of_another_network_is_refused(tmp_path):
    path = tmp_path / "keypoints.safetensors"
    save_network(path, KeypointNet(NetworkConfig(1, 2, decoder_channels=8)), {})
    with pytest.raises(CheckpointError, match=r"config that cannot be used.*n_objects"):
        load_detector(path)


@pytest.fixture
def published(network, tmp_path):
    """A function that writes a network under the published names, changed, and its path."""

    def write(**changes):
        tensors = {_published_name(n): t for n, t in network.state_dict().items()}
        tensors["model.23.dfl.conv.weight"] = torch.arange(16.0).view(1, 16, 1, 1)
        tensors.update(changes)
        save_file({n: t for n, t in tensors.items() if t is not None}, tmp_path / "published")
        return tmp_path / "published"

    return write


def test_published_names_fill_a_network(network, published):
    found = YoloV10(network.config)
    load_published(found, published())
    torch.testing.assert_close(dict(found.state_dict()), dict(network.state_dict()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.0.conv.weight": None}, "lacks backbone.stem.conv.weight"),
        ({"model.24.conv.weight": torch.zeros(1)}, "model.24.conv.weight, which does not belong"),
        ({"model.0.conv.weight": torch.zeros(1)}, r"shape \(1,\), expected \(16, 3, 3, 3\)"),
    ],
    ids=["missing", "foreign", "another shape"],
)
def test_a_published_file_that_does_not_fit_is_refused(network, published, changes, message):
    with pytest.raises(CheckpointError, match=message):
        load_published(YoloV10(network.config), published(**changes))


@pytest.mark.parametrize("size", ["n", "s", "m", "b", "l", "x"])
def test_no_two_tensors_share_a_published_name(size):
    with torch.device("meta"):
        names = list(YoloV10(YoloConfig(80, size)).state_dict())
    assert len({_published_name(name) for name in names}) == len(names)


@pytest.mark.real
@pytest.mark.parametrize("deployed", [False, True])
def test_the_published_network_sees_what_its_authors_see(real_data, deployed):
    network = YoloV10(YoloConfig(80, "n")).eval()
    load_published(network, real_data / "weights" / "yolov10n_coco.safetensors")
    network = network.deployed() if deployed else network
    expected = np.load(real_data / "weights" / "yolov10n_coco_reference.npz")
    for name in expected:
        photo = cv2.imread(str(real_data / "backgrounds" / "photos" / f"{name}.jpg"))
        image = cv2.resize(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB), (640, 640))
        with torch.no_grad():
            found = network.detect(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)[0].numpy()
        np.testing.assert_allclose(found[found[:, 4] > 0.02], expected[name], atol=1e-3)
