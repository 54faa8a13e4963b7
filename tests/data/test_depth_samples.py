from dataclasses import replace

import numpy as np
import pytest
import torch

from heatpose.data.backgrounds import Backgrounds
from heatpose.data.depth_samples import (
    DepthConfig,
    background_depth,
    covered_depth,
    without_parts,
)
from heatpose.data.samples import SampleConfig, SampleMaker, SampleStream
from heatpose.data.views import ViewConfig
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import make_transform, transform_points

CAMERA = Camera(fx=500, fy=500, cx=59.5, cy=49.5, width=120, height=100)
PERFECT = DepthConfig(missing=0, holes=0, strength=0)
SMALL = SampleConfig(crop_size=64, views=ViewConfig(smallest=30, largest=110), depth=DepthConfig())


def maker_of(objects, **changes):
    return SampleMaker(objects, Backgrounds(), replace(SMALL, **changes))


def test_the_same_number_gives_the_same_depth(objects):
    stream = SampleStream(maker_of(objects), 10, seed=4)
    for number in range(6):
        first, again = stream[number], stream[number]
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert first["depth"].shape == (2, 64, 64) and first["depth"].isfinite().all()


def test_colours_and_labels_are_the_same_with_depth_and_without(objects):
    with_depth = SampleStream(maker_of(objects), 10, seed=4)
    without = SampleStream(maker_of(objects, depth=None), 10, seed=4)
    for number in range(6):
        first, second = with_depth[number], without[number]
        assert first.keys() - second.keys() == {"depth"}
        assert all(torch.equal(first[name], second[name]) for name in second)


def test_depth_is_that_of_the_object_where_its_camera_says(objects):
    """Of a perfect camera, cut-outs and others aside: small patches, drawn finer, and large."""
    views = ViewConfig(smallest=25, largest=110, n_others=0)
    maker = maker_of(objects, views=views, cut_outs=0.0, depth=PERFECT)
    for number in range(20):
        sample = maker(np.random.default_rng([5, number]))
        object_id = maker.objects[sample.object_index].object_id
        truth = maker.renderer.depth(object_id, sample.camera_from_object, sample.camera)
        off = np.abs(sample.depth - truth)[np.isfinite(truth)]
        # Edges lie where pixels of the camera end; all else is the surface.
        assert np.nanmedian(off) < 0.5, number


def test_what_is_behind_stands_behind(objects, rng):
    """A plane that the object touches or that is farther, and things before the plane."""
    corners = transform_points(make_transform(np.eye(3), [0, 0, 900.0]), objects[0].mesh.corners)
    for _ in range(20):
        depth, normal = background_depth(rng, CAMERA, corners)
        assert depth.shape == (100, 120) and not (depth <= 0).any()
        assert normal @ [0, 0, 1] < 0
    found = [np.isfinite(background_depth(rng, CAMERA, corners)[0]).mean() for _ in range(60)]
    assert 0.03 < np.mean(np.array(found) < 0.5) < 0.6  # now and then nothing can be measured


def test_what_covers_the_picture_is_nearer(rng):
    crop = np.full((64, 64), 800, np.float32)
    covered = np.zeros((64, 64), bool)
    covered[10:20, 30:50] = True
    camera = replace(CAMERA, width=64, height=64)
    changed = covered_depth(rng, crop, camera, covered)
    assert (changed[covered] < 800).all() and (changed[covered] > 0).all()
    np.testing.assert_array_equal(changed[~covered], crop[~covered])
    nothing = np.full((64, 64), np.nan, np.float32)
    assert np.isnan(covered_depth(rng, nothing, camera, covered)).all()


def test_depth_is_taken_away_as_often_as_asked_for(rng):
    crop, config = np.full((64, 64), 800, np.float32), DepthConfig(missing=0.3, holes=0.5)
    missing = [np.isnan(without_parts(rng, crop, config)).mean() for _ in range(600)]
    missing = np.array(missing)
    assert (missing == 1).mean() == pytest.approx(0.3, abs=0.06)
    assert ((missing > 0) & (missing < 1)).mean() == pytest.approx(0.35, abs=0.06)
    assert np.isfinite(crop).all()  # it is not changed itself
    none = DepthConfig(missing=0, holes=0)
    assert np.isfinite(without_parts(rng, crop, none)).all()


def test_shares_are_shares():
    with pytest.raises(ValueError, match=r"missing is a share in \[0, 1\], got 2"):
        DepthConfig(missing=2)
