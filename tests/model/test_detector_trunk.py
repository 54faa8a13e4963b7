import pytest
import torch

from heatpose.model.network import KeypointNet, NetworkConfig
from heatpose.model.yolov10 import STRIDES, YoloConfig, YoloV10


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = YoloV10(YoloConfig(3, "n", "resnet18"))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.normal_(module.running_mean, std=0.2)
    return network.eval()


def test_it_gives_the_maps_of_any_detector(network):
    raw = network(torch.rand(2, 3, 64, 96))
    for maps in raw.values():
        assert [m.shape for m in maps] == [(2, 67, 64 // s, 96 // s) for s in STRIDES]


def test_its_trunk_sees_what_that_of_a_keypoint_network_sees(network):
    keypoints = KeypointNet(NetworkConfig(n_objects=1)).eval()
    theirs, own = keypoints.trunk.state_dict(), network.backbone.trunk.state_dict()
    keypoints.trunk.load_state_dict({**theirs, **own})
    images, seen = torch.rand(1, 3, 64, 64), []
    hooks = [
        trunk.layers[2].register_forward_hook(lambda _, __, out: seen.append(out))
        for trunk in (keypoints.trunk, network.backbone.trunk)
    ]
    with torch.no_grad():
        keypoints(images, torch.tensor([0]))
        network.detect(images)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(seen[0], seen[1])


def test_what_lies_behind_the_trunk_has_the_shapes_of_yolov10():
    with torch.device("meta"):
        on_trunk, own = (YoloV10(YoloConfig(3, "n", kind)) for kind in ("resnet18", "yolov10"))
    shapes = {name: tensor.shape for name, tensor in own.state_dict().items()}
    behind = {n for n in shapes if n.startswith(("neck.", "one2one.", "one2many."))}
    behind |= {n for n in shapes if n.startswith(("backbone.stage32.", "backbone.attend."))}
    assert all(on_trunk.state_dict()[name].shape == shapes[name] for name in behind)
