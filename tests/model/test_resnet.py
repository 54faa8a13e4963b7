import pytest
import torch

from heatpose.model.resnet import ResNet18, make_activation


def torchvision_names():
    """Names and shapes of torchvision's resnet18 less its classifier, written out by rule."""

    def batch_norm(name, channels):
        for part in ("weight", "bias", "running_mean", "running_var"):
            yield f"{name}.{part}", (channels,)
        yield f"{name}.num_batches_tracked", ()

    yield "conv1.weight", (64, 3, 7, 7)
    yield from batch_norm("bn1", 64)
    stages = [(64, 64), (64, 128), (128, 256), (256, 512)]
    for stage, (before, channels) in enumerate(stages, start=1):
        for block, entering in (("0", before), ("1", channels)):
            name = f"layer{stage}.{block}"
            for number, taken in (("1", entering), ("2", channels)):
                yield f"{name}.conv{number}.weight", (channels, taken, 3, 3)
                yield from batch_norm(f"{name}.bn{number}", channels)
            if entering != channels:
                yield f"{name}.downsample.0.weight", (channels, entering, 1, 1)
                yield from batch_norm(f"{name}.downsample.1", channels)


@pytest.mark.parametrize("activation", ["relu", "silu", "mish"])
def test_state_dict_has_the_names_and_shapes_of_torchvision(activation):
    own = {name: tuple(t.shape) for name, t in ResNet18(activation).state_dict().items()}
    assert own == dict(torchvision_names())


@pytest.mark.real
def test_the_file_of_real_weights_has_the_names_we_expect(real_data):
    from safetensors import safe_open

    with safe_open(real_data / "weights" / "resnet18_imagenet_to_layer3.safetensors", "pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    expected = dict(torchvision_names())
    assert found == {name: expected[name] for name in found}


def test_parameters_are_those_of_resnet18_without_its_classifier():
    # torchvision states 11,689,512 parameters, of which 512 * 1000 + 1000 are the classifier's
    assert sum(p.numel() for p in ResNet18().parameters()) == 11_689_512 - 513_000


def test_stages_come_at_strides_4_to_32():
    stages = ResNet18().eval()(torch.zeros(2, 3, 64, 96))
    assert [tuple(s.shape) for s in stages] == [
        (2, 64, 16, 24),
        (2, 128, 8, 12),
        (2, 256, 4, 6),
        (2, 512, 2, 3),
    ]


def test_a_block_whose_last_batch_norm_is_zero_is_its_shortcut():
    block = ResNet18().eval().blocks["layer1.0"]
    torch.nn.init.zeros_(block.bn2.weight)
    features = torch.rand(1, 64, 8, 8)
    torch.testing.assert_close(block(features), features)


def test_activations_differ_and_unknown_ones_are_named():
    x = torch.tensor([-1.0, 2.0])
    assert make_activation("relu")(x.clone()).tolist() == [0.0, 2.0]
    assert make_activation("silu")(x.clone())[0] < 0
    with pytest.raises(ValueError, match=r"one of \['mish', 'relu', 'silu'\], got 'gelu'"):
        make_activation("gelu")


def test_a_trunk_may_be_narrower_and_end_earlier():
    trunk = ResNet18(width=16, n_stages=3).eval()
    shapes = [tuple(stage.shape[1:]) for stage in trunk(torch.zeros(1, 3, 64, 96))]
    assert shapes == [(16, 16, 24), (32, 8, 12), (64, 4, 6)]
    assert not any("layer4" in name for name in trunk.state_dict())
