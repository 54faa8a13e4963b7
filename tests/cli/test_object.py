import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from heatpose.cli import app
from heatpose.objects.mesh import write_mesh


@pytest.fixture
def folder(tmp_path, monkeypatch, brick_mesh):
    write_mesh(tmp_path / "brick.ply", brick_mesh)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def inspect(*arguments):
    return CliRunner().invoke(app, ["object", "inspect", *arguments])


def test_it_prints_a_table_and_draws_a_picture(folder):
    result = inspect("brick.ply")
    assert result.exit_code == 0
    for words in [
        "taken for millimetres",
        "60.00 x 90.00 x 120.00 mm",
        "161.555 mm",
        "(5.00, -8.00, 12.00) mm, 15.26 mm from the origin",
        "none, the surface is closed",
        "vertex colours",
        "6 ways, down is (",
        "(0.00 0.00 -1.00)",
        "32 keypoints -> brick_views.png",
    ]:
        assert words in result.output
    assert "brick.ply: extents 60 x 90 x 120: taken for millimetres" in result.stderr
    assert np.asarray(Image.open(folder / "brick_views.png")).shape == (960, 960, 3)


def test_json_is_one_object_and_draws_nothing(folder):
    result = inspect("brick.ply", "--json", "--unit", "cm", "--keypoints", "bbox")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["extents_mm"] == pytest.approx([600, 900, 1200])
    assert (found["unit"], found["unit_guessed"]) == ("cm", False)
    assert found["strategy"] == "bbox"
    np.testing.assert_allclose(found["keypoints_mm"][8], [50, -80, 120])
    assert [path.name for path in folder.iterdir()] == ["brick.ply"]


def test_the_picture_goes_where_it_is_asked_to(folder):
    result = inspect("brick.ply", "--json", "--picture", "there.png", "--keypoints", "curvature")
    assert result.exit_code == 0 and (folder / "there.png").is_file()
    (folder / "there.png").unlink()
    assert inspect("brick.ply", "--no-picture", "--count", "8").exit_code == 0
    assert [path.name for path in folder.iterdir()] == ["brick.ply"]


def test_warnings_are_printed(folder):
    (folder / "open.off").write_text("OFF\n3 1 0\n0 0 0\n90 0 0\n0 90 0\n3 0 1 2\n")
    result = inspect("open.off", "--no-picture")
    assert "1 holes with 3 boundary edges" in result.output
    assert "no colour" in result.output


def test_a_mesh_without_faces_is_one_line_and_status_1(folder):
    (folder / "points.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    result = inspect("points.obj", "--picture", "there.png")
    assert result.exit_code == 1
    assert result.stderr.strip() == "error: points.obj has no faces"
    assert not (folder / "there.png").exists()


@pytest.mark.parametrize(
    "arguments", [["--keypoints", "bbox", "--count", "32"], ["--unit", "ft"], ["--count", "0"]]
)
def test_impossible_options_are_refused(folder, arguments):
    assert inspect("brick.ply", *arguments).exit_code == 2
