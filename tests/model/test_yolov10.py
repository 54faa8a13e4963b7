import math

import pytest
import torch
from torch import nn

from heatpose.model.yolov10 import (
    N_BINS,
    STRIDES,
    Head,
    YoloConfig,
    YoloV10,
    best_detections,
    decode_boxes,
)
from heatpose.model.yolov10_blocks import ConvNorm

SIZES = ["n", "s", "m", "b", "l", "x"]
# Table 1 of the paper: parameters in millions, and 1e9 operations at 640 x 640 px.
PUBLISHED = {
    "n": (2.3, 6.7),
    "s": (7.2, 21.6),
    "m": (15.4, 59.1),
    "b": (19.1, 92.0),
    "l": (24.4, 120.3),
    "x": (29.5, 160.4),
}


def make_network(n_classes=3, seed=0, size="n", backbone="yolov10"):
    """A detector with batch norms that do something."""
    torch.manual_seed(seed)
    network = YoloV10(YoloConfig(n_classes, size, backbone))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.running_var):
                nn.init.uniform_(values, 0.5, 2.0)
            for values in (module.bias, module.running_mean):
                nn.init.normal_(values, std=0.2)
    return network.eval()


@pytest.fixture(scope="module")
def network():
    return make_network()


def n_multiplications(network, images):
    """Multiplications in the convolutions of the deployed network."""
    counted = []

    def count(module, _, out):
        counted.append(out[0].numel() * module.weight[0].numel())

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    network.detect(images)
    for hook in hooks:
        hook.remove()
    return sum(counted)


@pytest.mark.parametrize("size", SIZES)
def test_parameters_and_operations_are_those_of_the_paper(size):
    with torch.device("meta"):
        network = YoloV10(YoloConfig(80, size)).deployed()
        operations = 2 * n_multiplications(network, torch.zeros(1, 3, 640, 640))
    parameters = sum(p.numel() for p in network.parameters())
    assert (round(parameters / 1e6, 1), round(operations / 1e9, 1)) == PUBLISHED[size]


def test_both_heads_give_one_map_per_stride(network):
    raw = network(torch.rand(2, 3, 64, 96))
    assert list(raw) == ["one2many", "one2one"]
    for maps in raw.values():
        assert [m.shape for m in maps] == [(2, 67, 64 // s, 96 // s) for s in STRIDES]


def test_only_the_head_of_many_matches_teaches_the_features(network):
    for name, taught in (("one2many", True), ("one2one", False)):
        network.zero_grad()
        sum(m.square().sum() for m in network(torch.rand(1, 3, 64, 64))[name]).backward()
        assert (network.backbone.stem.conv.weight.grad is not None) == taught
        assert getattr(network, name).boxes[0][0].conv.weight.grad is not None


@pytest.mark.parametrize(
    ("size", "backbone"),
    [("n", "yolov10"), ("m", "yolov10"), ("n", "resnet18")],  # large kernels in n alone
)
def test_the_deployed_network_sees_the_same(size, backbone):
    network = make_network(size=size, backbone=backbone)
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        expected, found = (
            decode_boxes(each.one2one(each.neck(each.backbone(images))))
            for each in (network, network.deployed())
        )
    torch.testing.assert_close(found.boxes, expected.boxes, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=1e-4)


def test_deploying_leaves_the_network_as_it_was(network):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    deployed = network.deployed()
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in deployed.modules())
    with pytest.raises(ValueError, match="detect"):
        deployed(torch.rand(1, 3, 64, 64))


def test_a_box_lies_around_its_cell_at_the_distances_of_its_bins():
    maps = [torch.zeros(1, 4 * N_BINS + 2, 64 // s, 96 // s) for s in STRIDES]
    row, col, distances = 2, 4, (3, 0, 7, 15)  # on the map of stride 16
    for side, distance in enumerate(distances):
        maps[1][0, side * N_BINS + distance, row, col] = 100.0
    maps[1][0, 4 * N_BINS + 1, row, col] = 5.0

    found = decode_boxes(maps)

    cell = 8 * 12 + row * 6 + col
    x, y = (col + 0.5) * 16, (row + 0.5) * 16
    torch.testing.assert_close(found.points[cell], torch.tensor([x, y]))
    assert found.strides[cell] == 16
    expected = torch.tensor([x - 3 * 16, y, x + 7 * 16, y + 15 * 16])
    torch.testing.assert_close(found.boxes[0, cell], expected)
    assert found.logits[0].argmax() == cell * 2 + 1
    # Where all bins are alike a side lies in their middle, 7.5 strides away.
    torch.testing.assert_close(found.boxes[0, 0], torch.tensor([4 - 60.0, -56, 64, 64]))


def test_a_side_between_two_bins_is_a_mixture_of_them():
    maps = [torch.full((1, 4 * N_BINS + 1, 8 // k, 8 // k), -100.0) for k in (1, 2, 4)]
    maps[0][0, 2, 0, 0], maps[0][0, 3, 0, 0] = math.log(0.25), math.log(0.75)
    left = decode_boxes(maps).boxes[0, 0, 0]
    torch.testing.assert_close(left, torch.tensor(4 - 2.75 * 8))


def test_the_bins_are_those_that_the_boxes_are_made_of(network):
    found = decode_boxes(network(torch.rand(1, 3, 64, 96))["one2one"])
    assert found.bins.shape == (1, 8 * 12 + 4 * 6 + 2 * 3, 4, N_BINS)
    distances = (found.bins.softmax(-1) * torch.arange(N_BINS)).sum(-1) * found.strides[:, None]
    torch.testing.assert_close(found.points - distances[..., :2], found.boxes[..., :2])
    torch.testing.assert_close(found.points + distances[..., 2:], found.boxes[..., 2:])


def test_boxes_keep_their_digits_under_autocast(network):
    images = torch.rand(1, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        found = decode_boxes(network(images)["one2one"])
    assert {tensor.dtype for tensor in found} == {torch.float32}


@pytest.mark.parametrize("most", [5, 40])
def test_the_best_pairs_are_those_of_sorting_all(most):
    torch.manual_seed(0)
    boxes, scores = torch.rand(2, 30, 4), torch.rand(2, 30, 3)
    found = best_detections(boxes, scores, most)
    assert found.shape == (2, min(most, 30), 6)
    for image in range(2):
        pairs = [(scores[image, i, c], i, c) for i in range(30) for c in range(3)]
        for (score, i, c), row in zip(sorted(pairs, reverse=True), found[image], strict=False):
            torch.testing.assert_close(row[:4], boxes[image, i])
            assert (row[4], row[5]) == (score, c)


def test_detections_come_best_first_and_inside_no_more_than_asked(network):
    with torch.no_grad():
        found = network.detect(torch.rand(2, 3, 160, 160), max_detections=50)
    assert found.shape == (2, 50, 6)
    assert (found[:, :-1, 4] >= found[:, 1:, 4]).all()
    assert ((found[..., 4] >= 0) & (found[..., 4] <= 1)).all()
    assert set(found[..., 5].unique().tolist()) <= {0.0, 1.0, 2.0}


def test_the_head_begins_with_five_objects_per_level():
    head = Head(YoloConfig(7, "n")).eval()
    shapes = [(1, 64, 80, 80), (1, 128, 40, 40), (1, 256, 20, 20)]
    with torch.no_grad():
        maps = head([torch.zeros(shape) for shape in shapes])
    for level in maps:
        assert level[:, 4 * N_BINS :].exp().sum().item() == pytest.approx(5, rel=1e-4)


def test_batch_norms_have_the_constants_of_the_family(network):
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.03)}
    assert len(norms) == sum(isinstance(m, ConvNorm) for m in network.modules())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"n_classes": 0}, "n_classes"),
        ({"n_classes": 3, "size": "w"}, "'w'"),
        ({"n_classes": 3, "backbone": "vgg"}, "yolov10 or resnet18, got 'vgg'"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        YoloConfig(**config)
