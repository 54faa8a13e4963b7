import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from heatpose.model.network import KeypointNet, NetworkConfig, heatmaps_of


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = KeypointNet(NetworkConfig(n_objects=3, n_keypoints=5, crop_size=64)).eval()
    torch.nn.init.normal_(net.head.bias)
    return net.requires_grad_(False)


@pytest.fixture
def crops():
    return torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [32, 64, 96])
def test_logits_have_a_quarter_of_the_crop(network, size):
    logits = network(torch.rand(2, 3, size, size), torch.tensor([0, 2]))
    assert logits.shape == (2, 5, size // 4, size // 4) and logits.dtype == torch.float32


def test_each_crop_is_read_with_the_weights_of_its_own_object(network, crops):
    index = torch.tensor([2, 0, 1, 2])
    together = network(crops, index)
    features = network.decoder(network.trunk((crops - network.mean) / network.std))
    for i, which in enumerate(index):
        weight, bias = network.head.weight[which], network.head.bias[which]
        alone = torch.nn.functional.conv2d(features[i : i + 1], weight[:, :, None, None], bias)
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-4, rtol=1e-4)


def test_renumbering_the_objects_changes_nothing(network, crops):
    index = torch.tensor([0, 1, 2, 1])
    renumbered = KeypointNet(network.config).eval()
    renumbered.load_state_dict(network.state_dict())
    order = torch.tensor([2, 0, 1])  # the new object i is the old object order[i]
    renumbered.head.weight.data = network.head.weight[order]
    renumbered.head.bias.data = network.head.bias[order]
    torch.testing.assert_close(renumbered(crops, order.argsort()[index]), network(crops, index))


def test_moving_the_crop_by_a_stride_of_the_trunk_moves_the_maps(network):
    image = torch.rand(1, 3, 640, 640, generator=torch.Generator().manual_seed(2))
    index = torch.tensor([0])
    here, there = network(image[..., :608, :608], index), network(image[..., 32:, 32:], index)
    inner = slice(72, 80)  # 288 px from the border, which the trunk hardly sees
    torch.testing.assert_close(here[..., 80:88, 80:88], there[..., inner, inner], atol=1e-3, rtol=0)


def test_the_network_normalises_by_itself(network):
    seen = []
    hook = network.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(
        torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 32, 32),
        torch.zeros(1, dtype=int),
    )
    network(torch.ones(1, 3, 32, 32), torch.zeros(1, dtype=int))
    hook.remove()
    torch.testing.assert_close(seen[0], torch.zeros(1, 3, 32, 32))
    white = [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    torch.testing.assert_close(seen[1][0, :, 7, 9], torch.tensor(white))


def test_logits_are_not_rounded_to_bfloat16(network, crops):
    index = torch.tensor([0, 1, 2, 0])
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(crops, index)
        features = torch.rand(4, 128, 8, 8).bfloat16()
        head = network.head(features, index)
    assert logits.dtype == head.dtype == torch.float32
    torch.testing.assert_close(head, network.head(features.float(), index), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(logits, network(crops, index), atol=0.05, rtol=0.05)


def test_every_stage_of_the_trunk_reaches_the_maps(network, crops):
    stages = network.trunk(crops)
    reference = network.decoder(stages)
    for changed in range(4):
        moved = [s + 1.0 if i == changed else s for i, s in enumerate(stages)]
        assert not torch.allclose(network.decoder(moved), reference, atol=1e-3)


@pytest.mark.parametrize("channels_last", [False, True])
def test_maps_come_out_contiguous_in_either_memory_format(network, crops, channels_last):
    if channels_last:
        crops = crops.contiguous(memory_format=torch.channels_last)
    assert network(crops, torch.tensor([0, 1, 2, 0])).is_contiguous()


def test_heatmaps_are_probabilities_over_the_pixels_of_each_map():
    logits = torch.randn(2, 3, 4, 5)
    maps = heatmaps_of(logits)
    torch.testing.assert_close(maps.sum(dim=(2, 3)), torch.ones(2, 3))
    torch.testing.assert_close(maps[1, 2], logits[1, 2].exp() / logits[1, 2].exp().sum())


def test_the_network_is_small_and_its_decoder_light():
    network = KeypointNet(NetworkConfig(n_objects=8)).eval()
    assert sum(p.numel() for p in network.parameters()) < 15e6

    def cost(run):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops()

    crop, index = torch.zeros(1, 3, 256, 256), torch.zeros(1, dtype=torch.int64)
    trunk = cost(lambda: network.trunk(crop))
    assert trunk == pytest.approx(2 * 2.37e9, rel=0.01)  # flops count twice multiply-adds
    assert cost(lambda: network(crop, index)) < 1.1 * trunk


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_objects": 0}, "n_objects must be at least 1, got 0"),
        ({"n_keypoints": 0}, "n_keypoints must be at least 1, got 0"),
        ({"crop_size": 100}, "crop_size must be divisible by 32, got 100"),
    ],
)
def test_a_config_that_makes_no_network_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        NetworkConfig(**{"n_objects": 1, **wrong})
