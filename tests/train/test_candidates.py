"""From rendered views to chosen keypoints, with networks that draw what they should."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from heatpose.errors import OptionError
from heatpose.geometry.transforms import transform_points
from heatpose.model.heatmaps import encode, heatmap_from_crop
from heatpose.model.network import NetworkConfig
from heatpose.objects.keypoints import candidate_keypoints, candidate_parts
from heatpose.train.candidates import (
    displacements,
    measure_views,
    precision_in,
)
from heatpose.train.choice import as_record, choose_keypoints, mean_over_objects, view_maker
from heatpose.train.start import Trained


class Numbered:
    """Draws samples whose number stands in the first pixels of the crop."""

    def __init__(self, maker):
        self.maker, self.objects, self.renderer = maker, maker.objects, maker.renderer
        self.samples = []

    def __call__(self, rng):
        sample = self.maker(rng)
        sample.crop[0, 0] = divmod(len(self.samples), 256) + (0,)
        self.samples.append(sample)
        return sample


class Perfect(torch.nn.Module):
    """Draws the heatmaps of numbered samples: of the labelling asked for, with given errors, px."""

    def __init__(self, maker, labelling=0, errors=lambda sample: 0.0):
        super().__init__()
        self.maker, self.labelling, self.errors = maker, labelling, errors
        n = len(maker.objects[0].keypoints)
        self.config = NetworkConfig(len(maker.objects), n, crop_size=64)

    def forward(self, crops, object_index, depth=None):
        numbers = (crops[:, :2, 0, 0] * 255).round().int().tolist()
        return torch.stack([self._draw(self.maker.samples[256 * a + b]) for a, b in numbers])

    def _draw(self, sample):
        model = self.maker.objects[sample.object_index]
        own = model.symmetries[min(self.labelling, len(model.symmetries) - 1)]
        points = transform_points(sample.camera_from_object @ own, model.keypoints)
        pixels = sample.camera.project(points) + self.errors(sample)
        maps = encode(heatmap_from_crop(pixels), 16, 16)
        return torch.from_numpy(np.log(np.maximum(maps, 1e-12))).float()


@pytest.fixture
def numbered(maker):
    """Views without boxes that cut something off, so that all keypoints are in the crops."""
    maker.config = replace(maker.config, box_cut=0.0, box_edge=0.0)
    return Numbered(maker)


@pytest.mark.parametrize("labelling", [0, 1])
def test_a_perfect_network_is_found_to_be_perfect(numbered, labelling):
    """In the other labelling of a symmetric object too, whose pose is then another."""
    found = measure_views(Perfect(numbered, labelling), numbered, 12, seed=5)
    assert sum(map(len, found)) == 24 and min(map(len, found)) > 3
    for model, sightings in zip(numbered.objects, found, strict=True):
        errors = np.array([one.keypoints.pixels - one.truth for one in sightings])
        inside = [(one.truth > 8) & (one.truth < 55) for one in sightings]  # no map is cut off
        assert np.abs(errors[np.array(inside)]).max() < 0.02
        assert (displacements(model, sightings, np.arange(8)) < 0.01).all()


def noisy_at(rows):
    """Errors of 3 px at some keypoints and of 0.3 px at the others."""
    spreads = np.full(8, 0.3)
    spreads[rows] = 3.0

    def errors(sample):
        rng = np.random.default_rng(int(1e6 * abs(sample.camera_from_object[0, 0])))
        return rng.standard_normal((8, 2)) * spreads[:, None]

    return errors


def test_noise_that_is_put_in_is_measured(numbered):
    network = Perfect(numbered, errors=noisy_at([1, 6]))
    for model, sightings in zip(
        numbered.objects, measure_views(network, numbered, 60, seed=5), strict=True
    ):
        found = precision_in(model, sightings)
        others = np.delete(found.spread, [1, 6])
        assert found.spread[[1, 6]].min() > 4 * others.max()


def test_noisy_keypoints_are_not_chosen(numbered):
    trained = Trained(Perfect(numbered, errors=noisy_at([1, 6])), numbered.objects, {})
    choices = choose_keypoints(trained, numbered, 6, 90)
    for choice, model in zip(choices, numbered.objects, strict=True):
        noisy = model.keypoints[[1, 6]]
        apart = np.linalg.norm(choice.keypoints.keypoints[:, None] - noisy, axis=2)
        assert len(choice.keypoints.keypoints) == 6 and apart.min() > 1
        by_name = {one.strategy: one for one in choice.comparisons}
        assert by_name.keys() == {"fps", "random", "learned"}
        assert by_name["learned"].expected.displacement < by_name["fps"].expected.displacement
        assert by_name["learned"].median < by_name["fps"].median < 0.5
        assert all(one.expected.rotation < 0.5 for one in by_name.values())
        assert len(choice.keypoints.notes["found"]) == 6
    means = list(mean_over_objects(choices))
    assert [row["strategy"] for row in means] == ["fps", "random", "learned"]
    each = [as_record(one) for c in choices for one in c.comparisons if one.strategy == "fps"]
    assert means[0]["median"] == pytest.approx(np.mean([one["median"] for one in each]))


@pytest.mark.parametrize(
    ("count", "views", "message"),
    [
        (8, 90, "the network has 8 keypoints to choose from, 8 were asked for"),
        (6, 5, "views of object 3 are too few, at least 40 are needed"),
    ],
)
def test_what_cannot_be_chosen_is_refused_with_the_value(numbered, count, views, message):
    trained = Trained(Perfect(numbered), numbered.objects, {})
    with pytest.raises(OptionError, match=message):
        choose_keypoints(trained, numbered, count, views)


def test_views_are_drawn_as_training_drew_its_samples(objects, numbered):
    training = {"sample": {"margin": 1.7, "views": {"upright": 0.6, "hidden": 0.3}}}
    config = view_maker(Trained(Perfect(numbered), objects, training), None).config
    assert (config.crop_size, config.margin) == (64, 1.7)
    assert (config.views.upright, config.views.hidden, config.depth) == (0.6, 0.3, None)


@pytest.mark.parametrize(("labels", "counts"), [("colour", [1, 2]), ("shape", [4, 24])])
def test_turns_that_a_network_was_not_taught_to_tell_are_symmetries(
    objects, numbered, labels, counts
):
    maker = view_maker(Trained(Perfect(numbered), objects, {"labels": labels}), None)
    assert [len(one.symmetries) for one in maker.objects] == counts


@pytest.mark.parametrize("count", [4, 9, 64])
def test_candidates_are_of_several_kinds(brick_mesh, count):
    points, parts = candidate_keypoints(brick_mesh, count), candidate_parts(count)
    assert points.shape == (count, 3)
    assert [row for rows in parts.values() for row in rows] == list(range(count))
    far = candidate_keypoints(brick_mesh, 2 * count)[parts["fps"]]
    np.testing.assert_array_equal(points[parts["fps"]], far)  # few are the first of many
