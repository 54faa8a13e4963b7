from dataclasses import replace

import pytest
import torch

from heatpose.model.network import KeypointNet, NetworkConfig
from heatpose.model.weights import load_network, save_network

SIZE = 64
CONFIG = NetworkConfig(n_objects=3, n_keypoints=5, decoder_channels=32, crop_size=SIZE)
INDEX = torch.tensor([0, 2, 1, 2])
WITH_DEPTH = ["early", "late", "cross", "depth"]
OF_BOTH = ["early", "late", "cross"]


def network_of(fusion, seed=0, learned=True):
    """A network; with weights of depth that are not the zeros they begin as, if it has learned."""
    torch.manual_seed(seed)
    network = KeypointNet(replace(CONFIG, fusion=fusion)).eval()
    if learned and network.fusion is not None:
        for parameter in network.fusion.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.05)
    return network.requires_grad_(False)


@pytest.fixture
def crops():
    return torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def depth():
    """Relative depth, measured on the left of the first crop, nowhere in the second."""
    relative = torch.rand(4, SIZE, SIZE, generator=torch.Generator().manual_seed(2)) * 2 - 1
    measured = torch.ones(4, SIZE, SIZE)
    measured[0, :, SIZE // 2 :] = 0
    measured[1] = 0
    return torch.stack([relative * measured, measured], dim=1)


@pytest.mark.parametrize("fusion", ["none", *WITH_DEPTH])
def test_logits_have_a_quarter_of_the_crop_whatever_is_done_with_depth(fusion, crops, depth):
    logits = network_of(fusion)(crops, INDEX, depth)
    assert logits.shape == (4, 5, SIZE // 4, SIZE // 4) and logits.dtype == torch.float32


@pytest.mark.parametrize("fusion", WITH_DEPTH)
def test_depth_is_looked_at(fusion, crops, depth):
    network = network_of(fusion)
    changed = network(crops, INDEX, depth) - network(crops, INDEX)
    assert changed[0].abs().max() > 1e-4


@pytest.mark.parametrize("fusion", OF_BOTH)
def test_without_depth_it_is_the_network_of_colours_whose_weights_it_has(fusion, crops, depth):
    """However the weights of depth have been trained: by construction, not by learning."""
    network = network_of(fusion)
    colours = network_of("none", seed=9)
    own = {n: t for n, t in network.state_dict().items() if not n.startswith("fusion.")}
    colours.load_state_dict(own)
    truth = colours(crops, INDEX)
    torch.testing.assert_close(network(crops, INDEX), truth, atol=0, rtol=0)
    # The second crop has no depth; the others have.
    logits = network(crops, INDEX, depth)
    torch.testing.assert_close(logits[1], truth[1], atol=1e-5, rtol=1e-5)
    assert (logits[0] - truth[0]).abs().max() > 1e-4


@pytest.mark.parametrize("fusion", OF_BOTH)
def test_it_begins_as_the_network_of_colours_with_depth_too(fusion, crops, depth):
    network = network_of(fusion, learned=False)
    torch.testing.assert_close(network(crops, INDEX, depth), network_of("none")(crops, INDEX))


@pytest.mark.parametrize("fusion", ["late", "cross"])
def test_as_depth_vanishes_its_effect_does(fusion, crops, depth):
    """A single measured pixel must not open the door for features of a trunk that saw nothing."""
    network = network_of(fusion)
    without = network(crops, INDEX)

    def effect(side):
        few = torch.zeros_like(depth)
        few[..., :side, :side] = depth[2:3, :, :side, :side]
        return (network(crops, INDEX, few) - without).abs().max()

    assert effect(1) < 0.2 * effect(SIZE)


@pytest.mark.parametrize("fusion", ["late", "cross"])
def test_both_trunks_learn_from_the_second_step_on(fusion, crops, depth):
    """At the first, what depth adds is zero and only its own weights are pulled."""
    network = network_of(fusion, learned=False).train().requires_grad_(True)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    truth = torch.rand(4, 5, SIZE // 4, SIZE // 4, generator=torch.Generator().manual_seed(3))
    for _ in range(2):
        optimiser.zero_grad()
        (network(crops, INDEX, depth) - 10 * truth).square().mean().backward()
        optimiser.step()
    silent = {
        name.rsplit(".", 1)[0] for name, p in network.named_parameters() if not p.grad.abs().max()
    }
    assert not silent


@pytest.mark.parametrize("fusion", WITH_DEPTH)
def test_it_has_less_than_15_million_parameters(fusion):
    network = KeypointNet(NetworkConfig(n_objects=21, fusion=fusion))
    assert sum(p.numel() for p in network.parameters()) < 15e6


def test_trunks_exchange_at_three_depths_and_meet_at_the_last(crops):
    network = network_of("cross")
    kinds = [len(network.fusion.to_colours), len(network.fusion.to_depth)]
    assert kinds == [4, 3] and len(network_of("late").fusion.to_depth) == 0
    # What the depth trunk finds depends on colours only where they exchange.
    seen = []
    network.fusion.trunk.layer4.register_forward_hook(lambda _, inputs, out: seen.append(out))
    depth = torch.ones(4, 2, SIZE, SIZE)
    network(crops, INDEX, depth)
    network(crops.flip(0), INDEX, depth)
    assert (seen[0] - seen[1]).abs().max() > 1e-4


def test_networks_of_depth_alone_do_not_see_colours(crops, depth):
    network = network_of("depth")
    first, second = network(crops, INDEX, depth), network(1 - crops, INDEX, depth)
    assert torch.equal(first, second)


def test_the_same_seed_gives_the_same_colours_whatever_is_done_with_depth():
    plain = network_of("none").state_dict()
    for fusion in OF_BOTH:
        own = network_of(fusion, learned=False).state_dict()
        assert all(torch.equal(own[name], tensor) for name, tensor in plain.items())


@pytest.mark.parametrize("fusion", ["none", *WITH_DEPTH])
def test_files_hold_what_is_done_with_depth(fusion, tmp_path, crops, depth):
    network = network_of(fusion)
    save_network(tmp_path / "network.safetensors", network, {})
    back, _ = load_network(tmp_path / "network.safetensors")
    assert back.config == network.config
    assert torch.equal(back(crops, INDEX, depth), network(crops, INDEX, depth))


def test_files_from_before_there_was_depth_are_read(tmp_path, monkeypatch, crops):
    network = network_of("none")

    def as_of_old(config):
        names = ("n_objects", "n_keypoints", "activation", "decoder_channels", "crop_size")
        return {name: getattr(config, name) for name in names}

    monkeypatch.setattr("heatpose.model.weights.asdict", as_of_old)
    save_network(tmp_path / "network.safetensors", network, {})
    back, _ = load_network(tmp_path / "network.safetensors")
    assert back.config.fusion == "none"
    assert torch.equal(back(crops, INDEX), network(crops, INDEX))


def test_unknown_kinds_are_refused_by_name():
    with pytest.raises(ValueError, match="none, early, late, cross, depth, got 'middle'"):
        NetworkConfig(1, fusion="middle")
