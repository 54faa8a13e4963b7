import numpy as np
import pytest

from heatpose.data.backgrounds import Backgrounds
from heatpose.data.samples import SampleConfig, SampleMaker
from heatpose.data.views import ViewConfig
from heatpose.objects.catalogue import ObjectModel


@pytest.fixture
def objects(brick_mesh, cube_mesh):
    """A brick, and a cube that looks the same after half a turn about z; corners as keypoints."""
    half_turn = np.stack([np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0])])
    return [
        ObjectModel(3, "brick", brick_mesh, brick_mesh.vertices, np.eye(4)[None], 161.6),
        ObjectModel(7, "cube", cube_mesh, cube_mesh.vertices, half_turn, 138.6),
    ]


@pytest.fixture
def maker(objects):
    views = ViewConfig(smallest=40, largest=70, n_others=1)
    return SampleMaker(objects, Backgrounds(), SampleConfig(crop_size=64, views=views))
