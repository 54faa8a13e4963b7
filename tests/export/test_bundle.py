import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

import heatpose
import heatpose.export.bundle as export
from heatpose.errors import CheckpointError, DataError, UnknownObjectError
from heatpose.export.agreement import rendered_crops
from heatpose.export.bundle import export_run
from heatpose.export.onnx import export_network
from heatpose.model.network import KeypointNet, NetworkConfig
from heatpose.model.weights import load_network, save_network
from heatpose.objects.catalogue import ObjectModel, object_to_record
from heatpose.objects.mesh import write_mesh
from heatpose.runtime.bundle import read_bundle
from heatpose.runtime.predictor import open_predictor
from heatpose.runtime.torch_predictor import TorchPredictor

SIZE = 64


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = KeypointNet(NetworkConfig(2, 4, decoder_channels=16, crop_size=SIZE)).eval()
    with torch.no_grad():
        network.head.weight.normal_(std=20.0)
    return network


@pytest.fixture
def run(tmp_path, network, cube_mesh, brick_mesh):
    """A run folder as training leaves it."""
    run = tmp_path / "run"
    (run / "models").mkdir(parents=True)
    objects = [
        ObjectModel(7, "obj_000007", brick_mesh, brick_mesh.vertices[:4], np.eye(4)[None], 161.6),
        ObjectModel(3, "obj_000003", cube_mesh, cube_mesh.vertices[:4], np.eye(4)[None], 138.6),
    ]
    records = []
    for model in objects:
        write_mesh(run / f"models/{model.name}.ply", model.mesh)
        records.append(object_to_record(model, f"models/{model.name}.ply"))
    (run / "objects.json").write_text(json.dumps({"format": 1, "objects": records}))
    notes = {
        "machine": "a desk",
        "samples": 12345,
        "train": {"sample": {"margin": 1.3}, "loss": {"sigma": 1.25}},
    }
    save_network(run / "network.safetensors", network, notes)
    return run


def test_a_run_becomes_a_bundle_that_sees_the_same(run, tmp_path, network):
    report = export_run(
        run,
        tmp_path / "toys.heatpose",
        notes="AR 0.99",
        attribution="by hand, CC0",
        object_names={3: "cube"},
    )
    bundle = read_bundle(tmp_path / "toys.heatpose")

    assert [(o.object_id, o.name) for o in bundle.objects] == [(7, "obj_000007"), (3, "cube")]
    assert (bundle.name, bundle.crop.size, bundle.crop.margin) == ("toys", SIZE, 1.3)
    assert (bundle.crop.stride, bundle.crop.sigma) == (4, 1.25)
    origin = bundle.provenance
    assert (origin.heatpose, origin.machine) == (heatpose.__version__, "a desk")
    assert (origin.samples, origin.network) == (12345, asdict(network.config))
    for text in ("AR 0.99", "by hand, CC0", "12,345 views", "| 3 | cube | 138.6 | none |"):
        assert text in bundle.card

    assert str(report.exact) in bundle.card

    crops, index = rendered_crops(bundle.objects, SIZE, 1.3)
    heatmaps = open_predictor(bundle.network, precision="f32")(crops, index)
    truth = TorchPredictor(network)(crops, index)
    np.testing.assert_allclose(heatmaps, truth, atol=0.02)
    assert report.exact.median < 0.02 and report.exact.n_keypoints > 4


def test_an_export_that_differs_is_not_written(run, tmp_path, monkeypatch):
    other = KeypointNet(load_network(run / "network.safetensors")[0].config)
    monkeypatch.setattr(export, "export_network", lambda _: export_network(other))
    with pytest.raises(CheckpointError, match="exported network differs from the trained one"):
        export_run(run, tmp_path / "toys.heatpose")
    assert not (tmp_path / "toys.heatpose").exists()


def test_names_are_for_known_objects(run, tmp_path):
    with pytest.raises(UnknownObjectError, match=r"object 4 is not one of \[7, 3\]"):
        export_run(run, tmp_path / "toys.heatpose", object_names={4: "cat"})


def test_objects_must_be_the_networks(run, tmp_path):
    content = json.loads((run / "objects.json").read_text())
    content["objects"].pop()
    (run / "objects.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="1 objects but a network for 2"):
        export_run(run, tmp_path / "toys.heatpose")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read .*objects.json: No such file"),
        ("{", "is not an objects.json"),
        ('{"format": 9, "objects": []}', "has format 9, this heatpose reads 1"),
    ],
)
def test_wrong_run_folders_are_explained(run, tmp_path, text, message):
    (run / "objects.json").unlink()
    if text is not None:
        (run / "objects.json").write_text(text)
    with pytest.raises(DataError, match=message):
        export_run(run, tmp_path / "toys.heatpose")
