import json

import numpy as np
import pytest

from heatpose.data.backgrounds import Backgrounds
from heatpose.data.samples import SampleConfig, SampleMaker
from heatpose.data.views import ViewConfig
from heatpose.model.weights import save_network
from heatpose.objects.catalogue import ObjectModel, object_to_record
from heatpose.objects.mesh import write_mesh
from heatpose.train.start import make_network


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


@pytest.fixture
def keypoint_run(tmp_path, objects):
    """A function that writes a run folder of a fresh keypoint network of the two objects.

    It returns the file of the weights, and the weights by name.
    """

    def write(config):
        network = make_network(config, 3)
        save_network(tmp_path / "network.safetensors", network, {})
        (tmp_path / "models").mkdir()
        records = []
        for model in objects:
            mesh_file = f"models/{model.object_id}.ply"
            write_mesh(tmp_path / mesh_file, model.mesh)
            records.append(object_to_record(model, mesh_file))
        (tmp_path / "objects.json").write_text(json.dumps({"format": 1, "objects": records}))
        return tmp_path / "network.safetensors", network.state_dict()

    return write
