"""Which of the known data sets models are of."""

from dataclasses import replace

import pytest

from heatpose.check.variants import LINEMOD, YCB_VIDEO, identify, is_linemod
from heatpose.data.recognise import read_source


def meshes_at(mesh, centre, ids):
    moved = replace(mesh, vertices=mesh.vertices - mesh.centre + centre)
    return dict.fromkeys(ids, moved)


def test_linemod_and_ycb_video_in_bops_version(cube_mesh):
    meshes = meshes_at(cube_mesh, 0, [1, 5, 15])
    some = {one: LINEMOD[one] * 1.01 for one in meshes}
    assert identify(meshes, some).startswith("models of LINEMOD, BOP's version (also that of SIXD")
    assert is_linemod(some)
    some = {one: YCB_VIDEO[one] for one in meshes}
    assert identify(meshes, some).startswith("models of YCB-Video, BOP's version: mm")
    assert not is_linemod(some)


def test_models_whose_origins_are_elsewhere(cube_mesh):
    meshes = meshes_at(cube_mesh, [0, 0, 40.0], [1, 5])
    words = identify(meshes, {one: LINEMOD[one] for one in meshes})
    assert "perhaps the archive's of 2012: the origin of object 1 lies 40 mm from" in words


def test_models_in_metres_and_of_other_things(cube_mesh):
    meshes = meshes_at(cube_mesh, 0, [1, 5])
    metres = {one: LINEMOD[one] / 1000 for one in meshes}
    assert identify(meshes, metres) == "models of LINEMOD at 0.001 times their size in mm"
    assert not is_linemod(metres)
    assert identify(meshes, {1: 80.0, 5: 300.0}) is None
    assert identify(meshes_at(cube_mesh, 0, [1, 77]), {1: LINEMOD[1], 77: 10.0}) is None


@pytest.mark.real
@pytest.mark.parametrize(("name", "known"), [("lm", LINEMOD), ("ycbv", YCB_VIDEO)])
def test_diameters_are_those_of_bop(real_data, name, known):
    for one, model in read_source(real_data / name).models.items():
        assert known[one] == pytest.approx(model.info["diameter"], abs=0.01)
