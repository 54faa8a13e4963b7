import hashlib
from dataclasses import replace

import cv2
import numpy as np
import pytest

from heatpose.objects.mesh import write_mesh
from heatpose.render.depth_sensors import KINDS, STRENGTHS, DepthSensor
from heatpose.synth.benchmark import MANIFEST, RGBD_LMO, write_manifest
from heatpose.synth.recipe import Recipe
from heatpose.synth.run import Order, prepare

from .conftest import SMALL


@pytest.fixture
def draw(tmp_path, cube_mesh, brick_mesh):
    """A function that draws a tiny benchmark of a cube and a brick, in a process of its own."""
    (tmp_path / "models").mkdir()
    for object_id, mesh in ((1, cube_mesh), (2, brick_mesh)):
        write_mesh(tmp_path / "models" / f"obj_{object_id:06d}.ply", mesh)
    scene = replace(
        RGBD_LMO.config.scene, camera=SMALL, views=(2, 2), objects=(2, 2), distractors=(1, 1)
    )
    others = (DepthSensor("stereo"), DepthSensor("time_of_flight", 2.0))
    config = replace(RGBD_LMO.config, scene=scene, others=others)

    def begin(name, **changes):
        order = Order([tmp_path / "models"], tmp_path / name, scenes=1, split="test", workers=1)
        return prepare(order, replace(config, **changes))

    return begin


def drawn_elsewhere(job):
    assert [one.problem for one in job.run()] == [None]
    return write_manifest(job.folder.parent, "test")


def drawn_here(job):
    Recipe(job.config)(job.places)(0, job.folder)
    return write_manifest(job.folder.parent, "test")


def test_every_process_draws_the_same_bit_for_bit(draw):
    job = draw("here")
    here = drawn_here(job)
    assert drawn_elsewhere(draw("elsewhere")) == drawn_elsewhere(draw("again")) == here
    lines = (job.folder.parent / MANIFEST).read_text()
    for kind in ("rgb", "depth", "depth_stereo_1", "depth_time_of_flight_2", "mask_visib"):
        assert f"  test/000000/{kind}/000001" in lines
    assert hashlib.sha256(lines.encode()).hexdigest() == here
    assert drawn_here(draw("other", seed=RGBD_LMO.config.seed + 1)) != here


def test_further_depth_cameras_change_nothing_else(draw):
    drawn_here(draw("with"))
    job = draw("without", others=None)
    drawn_here(job)
    with_them, without = (
        set((job.folder.parent.parent / name / MANIFEST).read_text().splitlines())
        for name in ("with", "without")
    )
    assert without < with_them
    assert {line.split("/")[2] for line in with_them - without} == {
        "depth_stereo_1",
        "depth_time_of_flight_2",
    }


def test_what_counts_is_pixels_not_how_they_are_compressed(tmp_path):
    folder = tmp_path / "test"
    folder.mkdir()
    pixels = np.arange(600, dtype=np.uint16).reshape(20, 30)

    def digest(pixels, level):
        done = cv2.imwrite(str(folder / "depth.png"), pixels, [cv2.IMWRITE_PNG_COMPRESSION, level])
        assert done
        return write_manifest(tmp_path, "test")

    assert digest(pixels, 0) == digest(pixels, 9)
    assert digest(pixels + 1, 9) != digest(pixels, 9) != digest(pixels.reshape(30, 20), 9)


def test_the_benchmark_has_each_depth_camera_at_four_strengths():
    expected = {(kind, strength) for kind in KINDS for strength in STRENGTHS}
    assert {(one.kind, one.strength) for one in RGBD_LMO.config.others} == expected
    assert len(STRENGTHS) == 4 and STRENGTHS[1] == 1  # the second is the device as measured
    assert RGBD_LMO.config.scene.repeats == 0 and RGBD_LMO.config.depth is None
