import json

import numpy as np
import pytest

from heatpose.data.bop import BopDataset, Target, read_models_info
from heatpose.data.images import read_image
from heatpose.errors import DataError, OptionError
from heatpose.geometry.camera import Camera
from heatpose.objects.mesh import read_mesh, write_mesh
from heatpose.render.depth_sensors import DepthSensor
from heatpose.synth.dataset import begin, find_models, finish, missing_scenes
from heatpose.synth.make import SceneMaker
from heatpose.synth.recipe import SynthConfig

from .conftest import SMALL, at, floor, scene_of

RECIPE = {"seed": 3, "scene": {"views": (2, 2), "bins": 0.5}}


@pytest.fixture
def models(tmp_path, cube_mesh, brick_mesh):
    """A models folder: cube 1 and brick 2, which has a symmetry."""
    folder = tmp_path / "models"
    folder.mkdir()
    write_mesh(folder / "obj_000001.ply", cube_mesh)
    write_mesh(folder / "obj_000002.ply", brick_mesh)
    turn = np.diag([-1.0, -1.0, 1.0, 1.0]).ravel().tolist()
    infos = {"2": {"diameter": 161.55, "name": "brick", "symmetries_discrete": [turn]}}
    (folder / "models_info.json").write_text(json.dumps(infos))
    return folder


@pytest.fixture
def begun(tmp_path, models):
    """A data set without scenes, and a function that begins it again."""

    def again(recipe=RECIPE):
        begin(tmp_path / "out", *find_models([models], None), SMALL, recipe)
        return tmp_path / "out"

    again()
    return again


def test_models_keep_their_surface_colours_and_symmetries(begun, models):
    out = begun()
    for name in ("obj_000001.ply", "obj_000002.ply"):
        stored, given = read_mesh(out / "models" / name, "mm"), read_mesh(models / name, "mm")
        for field in ("vertices", "faces", "normals", "colours"):
            np.testing.assert_array_equal(getattr(stored, field), getattr(given, field))
    infos = read_models_info(out / "models" / "models_info.json")
    assert infos[2]["symmetries_discrete"] and infos[2]["diameter"] == 161.55
    assert infos[1]["name"] == "obj_000001"
    assert infos[1]["diameter"] == pytest.approx(80 * 3**0.5)
    assert [infos[2][f"size_{axis}"] for axis in "xyz"] == pytest.approx([60, 90, 120])
    assert [infos[2][f"min_{axis}"] for axis in "xyz"] == pytest.approx([-25, -53, -48])


def test_cad_files_are_numbered_and_brought_to_mm(tmp_path, models):
    files = [models / "obj_000002.ply", models / "obj_000001.ply"]
    found, infos = find_models(files, "cm")
    assert [one.object_id for one in found] == [1, 2]
    assert infos[1]["size_z"] == pytest.approx(1200) and infos[1]["name"] == "obj_000002"
    with pytest.raises(OptionError, match="models is a folder"):
        find_models([models, *files], None)


def test_going_on_needs_the_same_recipe(begun):
    before = (begun() / "synth.json").read_bytes()
    with pytest.raises(OptionError, match=r"out was begun with scene.bins 0.5, not 0.25"):
        begun({**RECIPE, "scene": {"views": (2, 2), "bins": 0.25}})
    with pytest.raises(OptionError, match=r"begun with seed 3, not None"):
        begun({"scene": RECIPE["scene"]})
    assert (begun() / "synth.json").read_bytes() == before


def test_going_on_needs_the_same_objects(begun, models, cube_mesh):
    write_mesh(models / "obj_000007.ply", cube_mesh)
    with pytest.raises(OptionError, match=r"begun with objects.7 None, not '[0-9a-f]+'"):
        begun()


def test_a_folder_with_something_else_is_left_alone(begun, tmp_path):
    out = begun()
    (out / "synth.json").unlink()
    begun()  # an interrupted beginning may be gone on with
    (out / "synth.json").unlink()
    (out / "thesis.tex").touch()
    with pytest.raises(DataError, match=r"out is there, and is no data set of this command"):
        begun()
    assert not (out / "synth.json").exists()
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file is there"):
        begin(tmp_path / "file", [], {}, SMALL, RECIPE)
    with pytest.raises(DataError, match=r"cannot write .*within"):
        begin(tmp_path / "file" / "within", [], {}, SMALL, RECIPE)


def test_every_config_can_be_stored_and_compared(tmp_path):
    from dataclasses import asdict

    configs = [SynthConfig(), SynthConfig(depth=DepthSensor("stereo"))]
    for number, config in enumerate(configs):
        out = tmp_path / str(number)
        begin(out, [], {}, SMALL, asdict(config))
        stored = (out / "synth.json").read_bytes()
        begin(out, [], {}, SMALL, asdict(config))
        assert (out / "synth.json").read_bytes() == stored
        with pytest.raises(OptionError, match=r"depth"):
            begin(out, [], {}, SMALL, asdict(configs[1 - number]))


def test_a_finished_data_set_reads_back(begun, cube_mesh, brick_mesh):
    out = begun()
    # Two cubes, a brick behind the camera, and one of which a brick on top leaves a twentieth.
    from heatpose.render.scene import Instance

    places = [(1, at(-70, 0, 40)), (2, at(0, 0, 1500)), (1, at(70, 0, 40)), (2, at(0, 150, 60))]
    places += [(-1, at(0, 122, 300))]
    scene = scene_of([Instance(i, pose) for i, pose in places], [floor()])

    def engine(scene, view, rng, seen):
        return seen.albedo

    make = SceneMaker({1: cube_mesh, 2: brick_mesh, -1: brick_mesh}, lambda rng: scene, engine)
    assert finish(out, "train") == 0
    make(0, out / "train")
    make(4, out / "train")
    assert missing_scenes(out, "train", range(6)) == [1, 2, 3, 5]
    assert finish(out, "train") == 2

    data = BopDataset(out, split="train")
    assert data.scene_ids() == [0, 4]
    assert data.targets() == [Target(0, 0, 1, 2), Target(4, 0, 1, 2)]  # not the brick
    assert [one.object_id for one in data.ground_truth(4, 0)] == [1, 2, 1, 2]
    left, behind, right, hidden = (one.visible_fraction for one in data.gt_info(4, 0))
    assert (left, behind, right) == (1, 0, 1) and 0 < hidden < 0.1
    assert data.camera(0, 0) == SMALL
    preview = read_image(out / "preview.jpg")
    assert preview.shape == (240, 1280, 3)
    # A line of cube's box: the colour of object 1 is cyan, the rest of the picture is not.
    cyan = (preview[..., 0] < 120) & (preview[..., 1] > 180) & (preview[..., 2] > 180)
    assert cyan[:, :640].sum() > 100 and cyan[:, 640:].sum() == 0


def test_the_config_refuses_nonsense():
    from dataclasses import replace

    from heatpose.synth.layout import SceneConfig

    bent = replace(SceneConfig().camera, distortion=(0.1, 0.0, 0.0, 0.0, 0.0))
    for options, message in [
        ({"samples": 0}, "samples must be positive, got 0"),
        ({"seed": -1}, "seed must not be negative"),
        ({"scene": SceneConfig(camera=bent)}, "without lens distortion"),
    ]:
        with pytest.raises(ValueError, match=message):
            SynthConfig(**options)
    assert isinstance(SceneConfig().camera, Camera)
