import json

import numpy as np
import pytest
from typer.testing import CliRunner

from heatpose.cli import app
from heatpose.export.bundle import read_run_objects
from heatpose.model.weights import load_network
from heatpose.objects.mesh import write_mesh

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
FEW = ["--samples", "8", "--epoch-samples", "8", "--batch-size", "8", "--workers", "0"]


@pytest.mark.slow
def test_from_candidates_to_a_network_of_the_chosen_ones(tmp_path, brick_mesh):
    """Chosen, trained on, recorded; the chosen keypoints keep their weights of the candidates."""
    (tmp_path / "models").mkdir()
    write_mesh(tmp_path / "models" / "obj_000002.ply", brick_mesh)
    models = ["--objects", str(tmp_path / "models"), "--crop-size", "64", *FEW]
    many, few, chosen = tmp_path / "many", tmp_path / "few", tmp_path / "keypoints.json"
    candidates = ["--strategy", "candidates", "--n-keypoints", "48"]
    train = ["train", "keypoints", *models]
    result = CliRunner().invoke(app, [*train, "--out", str(many), *candidates])
    assert result.exit_code == 0, result.output

    choose = ["object", "keypoints", str(many), "--out", str(chosen), "--n-keypoints", "10"]
    result = CliRunner().invoke(app, [*choose, "--views", "40", "--workers", "0", "--json"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    rows = {(row["count"], row["strategy"]) for row in printed["mean"]}
    assert rows == {(n, s) for n in (8, 10) for s in ("fps", "curvature", "random", "learned")}
    assert [one["object_id"] for one in printed["objects"]] == [2] * 8
    [one] = json.loads(chosen.read_text())["objects"]
    [known] = read_run_objects(many)
    apart = np.linalg.norm(known.keypoints[:, None] - one["keypoints_mm"], axis=2)
    assert apart.min(axis=0).max() < 1e-3 and len(set(apart.argmin(axis=0))) == 10

    use = ["--keypoints", str(chosen), "--n-keypoints", "6", "--init", str(many)]
    result = CliRunner().invoke(app, [*train, "--out", str(few), *use])
    assert result.exit_code == 0, result.output
    assert "2 (6 of 6 keypoints)" in result.output
    assert load_network(few / "network.safetensors")[1]["train"]["keypoints"] == "learned"
    assert json.loads((few / "train.json").read_text())["config"]["keypoints"] == "learned"
    [model] = read_run_objects(few)
    np.testing.assert_allclose(model.keypoints, one["keypoints_mm"][:6])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["object", "keypoints", "nowhere.heatpose"], "nowhere.heatpose"),
        (["object", "keypoints", "nowhere.safetensors"], "nowhere.safetensors"),
        (
            ["train", "keypoints", "--objects", "MODELS", "--keypoints", "nowhere.json"],
            "cannot read nowhere.json",
        ),
    ],
)
def test_what_is_missing_is_named_in_one_line(tmp_path, brick_mesh, arguments, message):
    write_mesh(tmp_path / "obj_000002.ply", brick_mesh)
    arguments = [str(tmp_path) if one == "MODELS" else one for one in arguments]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("error: ") and message in last
