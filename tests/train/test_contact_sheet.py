import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from heatpose.data.samples import SampleStream
from heatpose.model.heatmaps import encode
from heatpose.train.contact_sheet import contact_sheet, decoded_error
from heatpose.train.labels import KeypointLabels


@pytest.fixture
def batch(maker):
    stream = SampleStream(maker, 8, seed=2)
    return default_collate([stream[i] for i in range(8)])


@pytest.fixture
def labels(objects):
    return KeypointLabels(objects)


def true_logits(labels, batch, labelling):
    """What a perfect network would give; objects with several labellings take the one asked for."""
    keypoints, _ = labels(
        batch["object_index"], batch["camera_matrix"], batch["camera_from_object"], 64
    )
    chosen = keypoints[:, labelling].numpy().astype(float)
    first = keypoints[:, 0].numpy().astype(float)
    several = (batch["object_index"] == 1).numpy()
    maps = [encode(c if s else f, 16, 16) for c, f, s in zip(chosen, first, several, strict=True)]
    return torch.log(torch.from_numpy(np.stack(maps)).float() + 1e-9)


@pytest.mark.parametrize("labelling", [0, 1])
def test_a_perfect_network_has_no_error_whichever_labelling_it_chose(labels, batch, labelling):
    assert (
        decoded_error(true_logits(labels, batch, labelling), labels, batch) < 0.5
    )  # crop px: cut off at borders


def test_an_error_of_one_heatmap_pixel_is_four_crop_pixels(labels, batch):
    moved = true_logits(labels, batch, 0).roll(1, dims=3)
    assert decoded_error(moved, labels, batch) == pytest.approx(4, abs=0.2)


def test_the_sheet_shows_the_crops_and_leaves_them_as_they_are(labels, batch):
    before = batch["crop"].clone()
    sheet = contact_sheet(true_logits(labels, batch, 0), labels, batch, columns=4)
    assert sheet.shape == (128, 256, 3)
    assert torch.equal(batch["crop"], before)
    assert (sheet[:64, :64] != before[0].numpy()).any(axis=2).mean() < 0.3


def test_depth_is_drawn_below_each_crop(labels, batch):
    plain = contact_sheet(true_logits(labels, batch, 0), labels, batch, columns=4)
    depth = torch.zeros(8, 2, 64, 64)
    depth[:, 1, :, 32:] = 1
    both = contact_sheet(true_logits(labels, batch, 0), labels, {**batch, "depth": depth}, 4)
    assert both.shape == (256, 256, 3)
    np.testing.assert_array_equal(both[:64], plain[:64])
    np.testing.assert_array_equal(both[128:192], plain[64:])
    left, right = both[64:128, :32], both[64:128, 32:64]
    assert (left == [20, 20, 110]).all(axis=2).mean() > 0.7
    assert (right == 140).all(axis=2).mean() > 0.7
