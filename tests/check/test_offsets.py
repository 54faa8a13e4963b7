"""Models whose origins are elsewhere are found by their outlines."""

import numpy as np
import pytest

from heatpose.check.fit import Fitter
from heatpose.check.offsets import describe_offsets, find_offsets
from heatpose.check.views import read_picture, views_of
from heatpose.data.recognise import read_source
from heatpose.geometry.transforms import make_transform
from heatpose.objects.mesh import diameter


@pytest.fixture
def fitter(toy_lab):
    return Fitter(toy_lab.meshes, {one: diameter(m) for one, m in toy_lab.meshes.items()})


@pytest.fixture
def views(toy_lab, tmp_path):
    toy_lab.write_bop(tmp_path)
    frames = read_source(tmp_path).frames
    return [view for frame in frames[::2] for view in views_of(read_picture(frame), {1, 5})]


@pytest.mark.parametrize("move", [(0.0, 0.0, 0.0), (12.0, -18.0, 25.0)])
def test_an_offset_is_found_to_a_few_millimetres(views, fitter, move):
    # Poses made for models whose origins are elsewhere put these models off by as much.
    moved = [
        view.reposed(lambda _, pose: pose @ make_transform(np.eye(3), -np.array(move)))
        for view in views
    ]
    for offset in find_offsets(moved, fitter).values():
        np.testing.assert_allclose(offset, move, atol=4.0)


def test_only_what_is_asked_for_is_looked_at(views, fitter):
    moved = [
        view.reposed(lambda _, pose: pose @ make_transform(np.eye(3), np.full(3, 20.0)))
        for view in views
    ]
    offsets = find_offsets(moved, fitter, objects=[5])
    assert not offsets[1].any() and offsets[5].any()


def test_offsets_in_words():
    offsets = {1: np.array([1.0, 0, -2]), 8: np.array([-30.4, 0, 12])}
    assert describe_offsets(offsets) == (
        "object 8 by (-30, +0, +12) mm, object 1 by (+1, +0, -2) mm"
    )
