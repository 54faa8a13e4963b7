import numpy as np
import pytest

from heatpose.errors import UnknownObjectError
from heatpose.geometry.boxes import box_of_mask
from heatpose.geometry.transforms import make_transform, transform_points
from heatpose.objects.mesh import Mesh
from heatpose.render.raycast import Renderer

AHEAD = make_transform(np.eye(3), np.array([0.0, 0.0, 600.0]))


@pytest.fixture
def renderer(cube_mesh, brick_mesh):
    return Renderer({1: cube_mesh, 2: brick_mesh})


def test_depth_of_a_cube_seen_from_the_front_is_that_of_its_face(renderer, camera):
    depth = renderer.depth(1, AHEAD, camera)
    # The face lies 40 mm before the centre and covers 80 mm / 560 mm of the focal length.
    seen = np.isfinite(depth)
    np.testing.assert_allclose(depth[seen], 560.0, atol=1e-3)
    left, top, right, bottom = box_of_mask(seen)
    assert right - left == pytest.approx(camera.fx * 80 / 560, abs=1)
    assert bottom - top == pytest.approx(camera.fy * 80 / 560, abs=1)


def check_coordinates(renderer, pose, camera):
    """What is rendered at a pixel must be seen at that pixel."""
    rendering = renderer.render([2], [pose], camera)
    rows, cols = np.nonzero(rendering.mask(0))
    points = transform_points(pose, rendering.object_coordinates[rows, cols].astype(float))
    np.testing.assert_allclose(camera.project(points), np.stack([cols, rows], axis=1), atol=2e-3)
    np.testing.assert_allclose(points[:, 2], rendering.depth[rows, cols], atol=1e-2)


def test_object_coordinates_are_seen_where_they_are_rendered(renderer, random_pose, camera):
    for _ in range(5):
        check_coordinates(renderer, random_pose(), camera)


def test_rendering_bends_as_the_lens_does(renderer, random_pose, distorted_camera):
    check_coordinates(renderer, random_pose(), distorted_camera)


def test_the_nearer_object_covers_the_farther_one(renderer, camera):
    far = make_transform(np.eye(3), np.array([40.0, 0.0, 900.0]))
    rendering = renderer.render([1, 2], [AHEAD, far], camera)
    reversed_order = renderer.render([2, 1], [far, AHEAD], camera)

    both = rendering.full_masks[0] & rendering.full_masks[1]
    assert both.sum() > 100
    assert (rendering.instance[both] == 0).all()
    assert rendering.visible_fraction(0) == 1.0
    hidden = both.sum() / rendering.full_masks[1].sum()
    assert rendering.visible_fraction(1) == pytest.approx(1 - hidden)
    np.testing.assert_array_equal(rendering.depth, reversed_order.depth)
    np.testing.assert_array_equal(rendering.mask(1), reversed_order.mask(0))


def test_what_is_rendered_alone_is_the_full_mask(renderer, random_pose, camera):
    poses = [random_pose(), random_pose()]
    together = renderer.render([1, 2], poses, camera)
    for index, object_id in enumerate((1, 2)):
        alone = renderer.render([object_id], [poses[index]], camera)
        np.testing.assert_array_equal(together.full_masks[index], alone.mask(0))
        depth = renderer.depth(object_id, poses[index], camera)
        np.testing.assert_array_equal(alone.depth, depth)


def test_quick_depth_has_the_same_edges_and_repeats_pixels_within(renderer, random_pose, camera):
    for _ in range(20):
        pose = random_pose()
        pose[:2, 3] *= 3  # now and then across the edge of the picture
        exact = renderer.depth(2, pose, camera)
        quick = renderer.quick_depth(2, pose, camera)
        seen, found = np.isfinite(exact), np.isfinite(quick)
        differs = np.count_nonzero(found != seen)
        assert differs <= 2 + 0.002 * seen.sum()  # corners sharper than two pixels
        both = seen & found
        shifted = [np.roll(exact, by, (0, 1)) for by in ((0, 0), (0, 1), (1, 0), (1, 1))]
        apart = np.nanmin(np.abs(quick - np.stack(shifted))[:, both], axis=0)
        assert (apart < 1e-2).all()  # its own depth, or that of the pixel above or to the left


def test_quick_depth_of_what_is_out_of_sight_or_all_around_is_that_of_depth(renderer, camera):
    around = make_transform(np.eye(3), np.array([0.0, 0.0, 10.0]))
    beside = make_transform(np.eye(3), np.array([3000.0, 0.0, 600.0]))
    np.testing.assert_allclose(
        renderer.quick_depth(1, around, camera), renderer.depth(1, around, camera), atol=0.3
    )
    assert not np.isfinite(renderer.quick_depth(1, beside, camera)).any()


def test_normals_are_unit_vectors_towards_the_camera(renderer, random_pose, camera):
    rendering = renderer.render([2], [random_pose()], camera)
    seen = rendering.mask(0)
    rows, cols = np.nonzero(seen)
    rays = camera.unproject(np.stack([cols, rows], axis=1), np.ones(len(rows)))
    normals = rendering.normals[seen]
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    assert (np.einsum("ni,ni->n", normals, rays) <= 1e-6).all()
    assert (rendering.normals[~seen] == 0).all()


def test_colours_come_from_vertices_and_grey_where_there_are_none(cube_mesh, camera):
    plain = Mesh(cube_mesh.vertices, cube_mesh.faces, cube_mesh.normals, None, None, None)
    red = np.tile(np.uint8([255, 0, 0]), (8, 1))
    painted = Mesh(cube_mesh.vertices, cube_mesh.faces, cube_mesh.normals, red, None, None)
    renderer = Renderer({1: plain, 2: painted})
    grey = renderer.render([1], [AHEAD], camera)
    np.testing.assert_allclose(grey.albedo[grey.mask(0)], 0.6, atol=1e-6)
    coloured = renderer.render([2], [AHEAD], camera)
    np.testing.assert_allclose(
        coloured.albedo[coloured.mask(0)], [[1, 0, 0]] * coloured.mask(0).sum(), atol=1e-6
    )


def test_a_texture_is_looked_up_with_v_up(camera):
    # A square facing the camera, y down in the image; texture red above, blue below.
    vertices = np.array([[-40.0, -40, 0], [40, -40, 0], [40, 40, 0], [-40, 40, 0]])
    uv = np.array([[0.0, 1], [1, 1], [1, 0], [0, 0]])  # the upper edge in the image has v = 1
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:32, :, 0], texture[32:, :, 2] = 255, 255
    faces = np.array([[0, 2, 1], [0, 3, 2]], np.int32)
    normals = np.tile([0.0, 0.0, -1.0], (4, 1))
    renderer = Renderer({1: Mesh(vertices, faces, normals, None, uv, texture)})

    rendering = renderer.render([1], [AHEAD], camera)
    rows = np.nonzero(rendering.mask(0))[0]
    quarter = (rows.max() - rows.min()) // 4
    middle = round(camera.cx)
    np.testing.assert_allclose(rendering.albedo[rows.min() + quarter, middle], [1, 0, 0], atol=1e-5)
    np.testing.assert_allclose(rendering.albedo[rows.max() - quarter, middle], [0, 0, 1], atol=1e-5)


def test_the_inside_of_an_open_mesh_is_lit_as_well(cube_mesh, camera):
    turned_inside_out = Mesh(
        cube_mesh.vertices, cube_mesh.faces, -cube_mesh.normals, None, None, None
    )
    rendering = Renderer({1: turned_inside_out}).render([1], [AHEAD], camera)
    assert (rendering.normals[rendering.mask(0)][:, 2] < 0).all()


@pytest.mark.parametrize("x", [5000.0, 0.0])
def test_objects_out_of_sight_leave_an_empty_image(renderer, camera, x):
    behind_or_aside = make_transform(np.eye(3), np.array([x, 0.0, 600.0 if x else -600.0]))
    rendering = renderer.render([1], [behind_or_aside], camera)
    assert not rendering.full_masks[0].any()
    assert rendering.visible_fraction(0) == 0.0
    assert np.isnan(rendering.depth).all() and (rendering.instance == -1).all()


def test_an_object_around_the_camera_fills_the_image(renderer, camera):
    assert np.isfinite(renderer.depth(1, np.eye(4), camera)).all()


def test_an_unknown_object_is_named(renderer, camera):
    with pytest.raises(UnknownObjectError, match=r"object 7 is not one of \[1, 2\]"):
        renderer.depth(7, AHEAD, camera)


@pytest.mark.real
def test_silhouettes_of_the_development_frames_agree_with_their_ground_truth(real_data):
    from heatpose.data.bop import BopDataset
    from heatpose.objects.mesh import read_mesh

    dataset = BopDataset(real_data / "lmo")
    targets = dataset.targets()
    meshes = {
        i: read_mesh(real_data / "lmo" / "models" / f"obj_{i:06d}.ply", "mm")
        for i in {t.object_id for t in targets}
    }
    renderer = Renderer(meshes)
    area_errors, box_errors = [], []
    for scene_id, image_id in sorted({(t.scene_id, t.image_id) for t in targets}):
        camera = dataset.camera(scene_id, image_id)
        truth = dataset.ground_truth(scene_id, image_id)
        infos = dataset.gt_info(scene_id, image_id)
        for one, info in zip(truth, infos, strict=True):
            mask = np.isfinite(renderer.depth(one.object_id, one.camera_from_object, camera))
            area_errors.append(abs(mask.sum() / info.pixels - 1))
            box = np.array(box_of_mask(mask))
            if (
                box[0] > 0
                and box[1] > 0
                and box[2] < camera.width - 1
                and box[3] < camera.height - 1
            ):
                box_errors.append(np.abs(box - info.box).max())
    assert len(area_errors) >= 487
    assert np.median(area_errors) < 0.02
    assert np.mean(np.array(box_errors) <= 1.0) >= 0.95


def test_a_surface_has_the_normals_of_its_facets_whatever_its_vertices_say(renderer, camera):
    """The vertices of the cube point along its diagonals; its front faces the camera."""
    surface = renderer.surface(1, AHEAD, camera)
    seen = np.isfinite(surface.depth)
    np.testing.assert_array_equal(surface.depth, renderer.depth(1, AHEAD, camera))
    np.testing.assert_allclose(surface.normals[seen], [[0, 0, -1]] * seen.sum(), atol=1e-6)
    assert not surface.normals[~seen].any()


def test_normals_of_facets_are_perpendicular_to_the_surface(renderer, random_pose, camera):
    """Two neighbouring points of one facet lie on a line across its normal."""
    surface = renderer.surface(2, random_pose(), camera)
    rows, cols = np.nonzero(np.isfinite(surface.depth[:, :-1] + surface.depth[:, 1:]))
    normals = surface.normals[rows, cols]
    same = np.abs(normals - surface.normals[rows, cols + 1]).max(axis=1) < 1e-6
    points = [
        camera.unproject(np.stack([cols + i, rows], axis=1), surface.depth[rows, cols + i])
        for i in (0, 1)
    ]
    along = (points[1] - points[0])[same]
    assert same.mean() > 0.8
    np.testing.assert_allclose(np.einsum("ni,ni->n", along, normals[same]), 0, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    assert (np.einsum("ni,ni->n", points[0], normals) < 0).all()


def test_the_region_of_an_object_holds_all_of_it(renderer, random_pose, camera):
    pose = random_pose()
    rows, cols = renderer.region(2, pose, camera)
    depth = renderer.depth(2, pose, camera)
    assert np.isfinite(depth[rows, cols]).sum() == np.isfinite(depth).sum()
    rows, cols = renderer.region(2, make_transform(np.eye(3), [9000.0, 0, 600]), camera)
    assert cols.stop <= cols.start or rows.stop <= rows.start
