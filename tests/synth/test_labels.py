import numpy as np
import pytest

from heatpose.geometry.boxes import box_of_mask
from heatpose.geometry.transforms import transform_points
from heatpose.render.scene import Instance, Material, Panel
from heatpose.synth.labels import Labeller, normals_to_camera, shine

from .conftest import SMALL, at, floor, scene_of


@pytest.fixture
def label(cube_mesh, brick_mesh):
    return Labeller({1: cube_mesh, 2: brick_mesh, -1: brick_mesh})


def test_a_cube_on_a_table_is_where_it_is_and_as_large_as_it_is(label):
    # The camera is 700 mm above the table and looks at the cube's top, 80 mm above the table.
    scene = scene_of([Instance(1, at(0, 0, 40))], [floor()])
    seen = label(scene, 0)
    (one,) = seen.labels
    np.testing.assert_allclose(seen.depth[one.visible], 620, atol=0.01)
    np.testing.assert_allclose(seen.depth[~one.visible], 700, atol=0.01)
    left, top, right, bottom = one.box
    assert right - left == pytest.approx(150 * 80 / 620, abs=1)
    assert (left + right) / 2 == pytest.approx(79.3, abs=0.5)
    assert bottom - top == pytest.approx(152 * 80 / 620, abs=1)
    np.testing.assert_allclose(one.truth.camera_from_object[:3, 3], [0, 0, 660], atol=1e-9)
    normals = normals_to_camera(seen, scene.world_from_cameras[0])
    assert (normals[~one.visible] == [0, 0, -1]).all()
    visibility = one.visibility(seen.depth)
    assert visibility.visible_fraction == 1
    assert visibility.pixels == visibility.valid_pixels == one.mask.sum()


def test_distractors_cover_objects_and_have_no_labels(label, two_on_a_table):
    seen = label(two_on_a_table, 0)
    assert [one.truth.object_id for one in seen.labels] == [1, 2]
    cube, brick = (one.visibility(seen.depth) for one in seen.labels)
    assert 0.2 < cube.visible_fraction < 0.9 and brick.visible_fraction == 1
    covered = seen.labels[0].mask & ~seen.labels[0].visible
    assert (seen.surfaces.index[covered] == 1).all()  # the distractor is the second instance
    assert cube.visible_fraction == pytest.approx(1 - covered.sum() / cube.pixels)
    assert cube.visible_box == box_of_mask(seen.surfaces.index == 0)


def test_a_wall_covers_what_is_behind_it(label):
    # A wall that stands 300 mm above the floor covers all with x > 0.
    wall = Panel(at(500, 0, 300), 1000.0, 1000.0, np.full((2, 2, 3), 9, np.uint8))
    scene = scene_of([Instance(1, at(0, 0, 40)), Instance(2, at(90, 0, 60))], [floor(), wall])
    half, hidden = label(scene, 0).labels
    assert half.visibility(np.ones((120, 160))).visible_fraction == pytest.approx(0.5, abs=0.06)
    assert half.visible[:, 80:].sum() == 0
    nothing = hidden.visibility(np.ones((120, 160)))
    assert nothing.visible_fraction == 0 and nothing.visible_pixels == 0
    assert nothing.box is None and nothing.visible_box is None  # BOP's -1
    assert nothing.pixels == hidden.mask.sum() > 100


def test_a_silhouette_counts_beyond_the_image(label):
    cube = Instance(1, at(-329.8, 0, 40))  # cut off by the left edge
    (one,) = label(scene_of([cube]), 0).labels
    wider = SMALL.warped(1.0, np.array([100, 0]), 260, 120)  # 100 px more on the left
    (whole,) = label(scene_of([cube], camera=wider), 0).labels

    assert 100 < one.mask.sum() < whole.mask.sum()
    np.testing.assert_array_equal(one.mask, whole.mask[:, 100:])
    assert one.pixels == whole.pixels == whole.mask.sum()
    left, top, right, bottom = whole.box
    assert one.box == (left - 100, top, right - 100, bottom)
    visibility = one.visibility(np.ones((120, 160)))
    assert visibility.visible_fraction == one.mask.sum() / one.pixels
    assert visibility.valid_pixels == one.mask.sum()
    assert visibility.visible_box[0] == -0.5 > visibility.box[0]


def test_an_object_behind_the_camera_is_labelled_as_not_seen(label):
    (one,) = label(scene_of([Instance(1, at(0, 0, 900))]), 0).labels
    assert one.pixels == 0 and one.box is None
    visibility = one.visibility(np.ones((120, 160)))
    assert visibility.visible_fraction == 0 and visibility.valid_pixels == 0


def test_depth_that_was_not_measured_does_not_count_as_valid(label):
    seen = label(scene_of([Instance(1, at(0, 0, 40))]), 0)
    depth = seen.depth.copy()
    assert np.isnan(depth).any()  # no floor
    depth[:60] = np.nan
    (one,) = seen.labels
    assert one.visibility(depth).valid_pixels == one.mask[60:].sum()


def test_mirrors_shine_and_chalk_does_not(label):
    scene = scene_of(
        [
            Instance(1, at(-60, 0, 40), Material(roughness=0.0, metallic=1.0)),
            Instance(2, at(70, 0, 60)),
        ],
        [Panel(at(0, 0, 0), 300.0, 300.0, np.zeros((2, 2, 3), np.uint8), Material(roughness=1.0))],
    )
    seen = label(scene, 0)
    mirror, plain = seen.labels
    assert (shine(seen, scene)[mirror.visible] == 1).all()
    np.testing.assert_allclose(shine(seen, scene)[plain.visible], 0.08 * 0.5 * 0.4, atol=1e-6)
    assert (shine(seen, scene)[~mirror.visible & ~plain.visible] == 0).all()


def test_labels_of_a_view_are_seen_by_its_camera(label, two_on_a_table, brick_mesh):
    for view in (0, 1):
        brick = label(two_on_a_table, view).labels[1]
        pixels = SMALL.project(
            transform_points(brick.truth.camera_from_object, brick_mesh.vertices)
        )
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        assert np.abs(np.array(brick.box) - [*low, *high]).max() < 1
