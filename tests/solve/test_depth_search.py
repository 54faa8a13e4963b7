"""Objects that the picture has the wrong way round, looked for in depth."""

from dataclasses import replace

import numpy as np
import pytest

from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import matrix_from_vector, random_rotation
from heatpose.geometry.transforms import invert, make_transform, rotation_angle, transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.objects.keypoints import select_keypoints
from heatpose.objects.mesh import Mesh, diameter
from heatpose.objects.surface import smooth_normals
from heatpose.render.raycast import Renderer
from heatpose.solve.attitudes import N_POINTS, draw_attitudes
from heatpose.solve.depth import PosedObject, depth_agreement
from heatpose.solve.depth_poses import correct_with_depth
from heatpose.solve.depth_search import DepthSearch, _aligned
from heatpose.solve.depth_verdict import (
    Verdict,
    agreeing_keypoints,
    correlation,
    judge,
    keypoint_support,
    make_case,
)
from heatpose.types import Evidence, PoseEstimate

HOOK, BRICK, SHEET = 4, 3, 9
FAR = 2000.0  # of what stands behind, mm
GREY = np.full((480, 640, 3), 128, np.uint8)  # a picture that says nothing
POSE = make_transform(matrix_from_vector(np.array([0.5, -0.8, 0.3])), np.array([40.0, -30, 800]))
FINE = Verdict(near=0.7, contradicted=0.01, hidden=0.29, overlap=0.95, support=0.5)
OVER = matrix_from_vector(np.array([0.0, 2.2, 0]))  # a turn that no fit undoes


ASKEW = matrix_from_vector(np.array([0.0, 0.0, 1.5]))


def hook():
    """Two bars at a right angle, one longer: nothing turns it into itself."""
    import trimesh

    bars = [
        trimesh.creation.box(extents, trimesh.transformations.translation_matrix(centre))
        for extents, centre in (([30, 40, 120], [0, 0, 0]), ([80, 25, 25], [45, 5, 40]))
    ]
    return of_faces(trimesh.util.concatenate(bars))


def sheet():
    """A square without thickness."""
    import trimesh

    return of_faces(
        trimesh.Trimesh([[0, 0, 0], [90, 0, 0], [90, 90, 0], [0, 90, 0]], [[0, 1, 2], [0, 2, 3]])
    )


def of_faces(mesh):
    vertices, faces = np.array(mesh.vertices, float), np.array(mesh.faces, np.int32)
    return Mesh(vertices, faces, smooth_normals(vertices, faces), None)


@pytest.fixture
def objects(brick_mesh):
    meshes = {HOOK: hook(), BRICK: brick_mesh, SHEET: sheet()}
    return {
        i: ObjectModel(
            i, "", mesh, select_keypoints(mesh, count=16), np.eye(4)[None], diameter(mesh)
        )
        for i, mesh in meshes.items()
    }


@pytest.fixture
def renderer(objects):
    return Renderer({i: model.mesh for i, model in objects.items()})


@pytest.fixture
def search(objects, renderer):
    return DepthSearch(objects, renderer)


def measured(renderer, camera, object_id=HOOK, pose=POSE):
    """The depth of an object before a wall."""
    return np.fmin(renderer.depth(object_id, pose, camera), np.float32(FAR))


def seen_at(pose, renderer, camera, object_id=HOOK, truth=POSE, **others):
    """An estimate with that pose, and with the detection box that the true one has."""
    rows, cols = np.nonzero(np.isfinite(renderer.depth(object_id, truth, camera)))
    return PoseEstimate(
        object_id=object_id,
        camera_from_object=pose,
        score=0.5,
        covariance=np.diag([0.04] * 3 + [25.0, 25.0, 900.0]),
        keypoints=np.full((16, 2), np.nan),
        inliers=np.zeros(16, bool),
        box=(cols.min() - 0.5, rows.min() - 0.5, cols.max() + 0.5, rows.max() + 0.5),
        **others,
    )


def look(search, estimate, depth, image, camera, before=None):
    case = make_case(estimate, search.objects[estimate.object_id], depth, image, camera)
    return None if case is None else search(case, before)


def turned(by, pose=POSE):
    return make_transform(pose[:3, :3] @ by, pose[:3, 3])


def degrees(pose, other):
    return np.degrees(rotation_angle(pose[:3, :3].T @ other[:3, :3]))


def test_an_object_that_is_the_wrong_way_round_is_found(search, renderer, camera, rng):
    depth = measured(renderer, camera)
    for _ in range(4):
        wrong = turned(random_rotation(rng))
        found = look(search, seen_at(wrong, renderer, camera), depth, GREY, camera)
        assert degrees(found.camera_from_object, POSE) < 2
        assert np.linalg.norm(found.camera_from_object[:3, 3] - POSE[:3, 3]) < 2


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_an_object_that_is_half_hidden_and_the_wrong_way_round_is_found(
    search, renderer, camera, side
):
    """The box that is detected is that of what is seen: its middle is not the object's."""
    depth, estimate = measured(renderer, camera), seen_at(turned(OVER), renderer, camera)
    left, top, right, bottom = estimate.box
    x, y = round(left + 0.4 * (right - left)), round(top + 0.4 * (bottom - top))
    hidden = {
        "left": np.s_[:, :x],
        "right": np.s_[:, x:],
        "top": np.s_[:y, :],
        "bottom": np.s_[y:, :],
    }
    drawn = np.isfinite(renderer.depth(HOOK, POSE, camera))
    depth[hidden[side]] = 500
    drawn[hidden[side]] = False
    rows, cols = np.nonzero(drawn)
    box = (cols.min() - 0.5, rows.min() - 0.5, cols.max() + 0.5, rows.max() + 0.5)
    found = look(search, replace(estimate, box=box), depth, GREY, camera)
    assert degrees(found.camera_from_object, POSE) < 5


def test_objects_are_laid_into_the_box_or_along_its_edges(search, objects, renderer, camera):
    estimate = seen_at(POSE, renderer, camera)
    case = make_case(estimate, objects[HOOK], measured(renderer, camera), GREY, camera)
    points = search.attitudes(HOOK).points[:5]
    distances = np.linspace(500, 1500, 5)
    places = _aligned(points, distances, case, np.array([[0, 0], [-1, 1], [1, -1]]))
    pixels = camera.project(points + places[:, None].reshape(3, 5, 1, 3))
    low, high = pixels.min(axis=2), pixels.max(axis=2)
    left, top, right, bottom = estimate.box
    middle = [(left + right) / 2, (top + bottom) / 2]
    assert places[:, 2] == pytest.approx(np.tile(distances, 3))
    assert (low[0] + high[0]) / 2 == pytest.approx(np.tile(middle, (5, 1)), abs=8)
    assert low[1, :, 0] == pytest.approx(np.full(5, left), abs=1e-2)
    assert high[1, :, 1] == pytest.approx(np.full(5, bottom), abs=1e-2)
    assert high[2, :, 0] == pytest.approx(np.full(5, right), abs=1e-2)
    assert low[2, :, 1] == pytest.approx(np.full(5, top), abs=1e-2)


def test_a_pose_that_nothing_contradicts_stays_without_a_search(search, renderer, camera):
    estimate = seen_at(POSE, renderer, camera)
    search.attitudes = None  # to be drawn, they would have to be called
    assert look(search, estimate, measured(renderer, camera), GREY, camera) is None


def test_what_stands_in_front_contradicts_nothing(search, renderer, camera):
    """The box that is detected is that of what is seen."""
    depth, estimate = measured(renderer, camera), seen_at(POSE, renderer, camera)
    left, top, right, bottom = estimate.box
    middle = round(left + 0.4 * (right - left))
    depth[int(top) : int(bottom) + 2, int(left) : middle] = 500
    search.attitudes = None
    assert (
        look(search, replace(estimate, box=(middle, top, right, bottom)), depth, GREY, camera)
        is None
    )


def test_a_pose_that_all_keypoints_agree_on_is_not_doubted(search, objects, renderer, camera):
    """An object of glass: the depth camera sees the wall behind it."""
    glass = np.full((camera.height, camera.width), FAR, np.float32)
    keypoints = camera.project(objects[HOOK].keypoints @ POSE[:3, :3].T + POSE[:3, 3])
    estimate = seen_at(POSE, renderer, camera, keypoint_spreads=np.full(16, 1.0))
    assert look(search, replace(estimate, keypoints=keypoints), glass, GREY, camera) is None


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"near": 0.8}, {"near": 0.5}),
        ({"contradicted": 0.0}, {"contradicted": 0.2}),
        ({"hidden": 0.1}, {"hidden": 0.4}),
        ({"overlap": 0.9}, {"overlap": 0.8}),
        ({"support": 0.4}, {"support": 0.2}),
        ({"colours": 0.4}, {"colours": -0.2}),
    ],
)
def test_what_speaks_for_a_pose_and_against_it(better, worse):
    assert replace(FINE, **better).score > replace(FINE, **worse).score


@pytest.mark.parametrize(
    "flaw",
    [
        {"contradicted": 0.15},
        {"overlap": 0.6},
        {"near": 0.2},
        {"near": 0.35, "hidden": 0.6, "overlap": 0.75, "contradicted": 0.03},  # little of each
    ],
)
def test_each_flaw_alone_is_doubted_unless_keypoints_are_unanimous(flaw):
    assert not FINE.doubtful
    assert replace(FINE, **flaw).doubtful
    assert not replace(FINE, **flaw, support=0.95).doubtful
    assert FINE.clear and not replace(FINE, **flaw).clear


def test_a_wall_where_the_object_should_be_contradicts_it(search, renderer, camera):
    nearer = POSE.copy()
    nearer[:3, 3] *= 0.7
    found = look(
        search, seen_at(nearer, renderer, camera), measured(renderer, camera), GREY, camera
    )
    assert degrees(found.camera_from_object, POSE) < 2


def test_keypoints_choose_among_poses_that_depth_cannot_tell(search, objects, renderer, camera):
    depth, model = measured(renderer, camera, BRICK), objects[BRICK]
    keypoints = camera.project(model.keypoints @ POSE[:3, :3].T + POSE[:3, 3])
    estimate = seen_at(turned(OVER), renderer, camera, BRICK, keypoint_spreads=np.full(16, 2.0))
    for turn in (np.eye(3), np.diag([1.0, -1, -1]), np.diag([-1.0, -1, 1])):
        # A brick has half turns about its middle, here told apart by the keypoints alone.
        middle = np.array([5.0, -8, 12])
        half = make_transform(turn, middle - turn @ middle)
        named = (
            keypoints
            if turn[1, 1] > 0
            else camera.project(
                (model.keypoints @ turn.T + half[:3, 3]) @ POSE[:3, :3].T + POSE[:3, 3]
            )
        )
        looked_for = replace(estimate, keypoints=named)
        found = look(search, looked_for, depth, GREY, camera)
        assert degrees(found.camera_from_object, POSE @ half) < 3


def test_keypoints_count_as_the_points_that_the_estimate_says_they_are(objects, renderer, camera):
    """Turned with their object, they stay where they are seen."""
    model, turn = objects[HOOK], make_transform(OVER, np.array([4.0, 0, -3]))
    points = transform_points(invert(turn), model.keypoints)
    seen = seen_at(POSE, renderer, camera, keypoint_spreads=np.full(16, 2.0), points=points)
    seen = replace(seen, keypoints=camera.project(transform_points(POSE, points)))
    case = make_case(seen, model, measured(renderer, camera), GREY, camera)
    poses = np.stack([POSE, POSE @ invert(turn)])
    support = keypoint_support(poses[:, :3, :3], poses[:, :3, 3], case)
    assert support[0] == pytest.approx(1) and support[1] < 0.5
    assert agreeing_keypoints(POSE, seen, model, camera).all()
    assert not agreeing_keypoints(poses[1], seen, model, camera).all()


def test_colours_choose_among_poses_that_depth_cannot_tell(brick_mesh, camera):
    """One end of the brick is red, the other blue, and the picture twice as dark as the mesh."""
    red = brick_mesh.vertices[:, 2:] > brick_mesh.vertices[:, 2].mean()
    painted = replace(brick_mesh, colours=np.where(red, [250, 20, 20], [20, 20, 250]).astype("u1"))
    model = ObjectModel(BRICK, "", painted, painted.vertices, np.eye(4)[None], diameter(painted))
    renderer = Renderer({BRICK: painted})
    depth = measured(renderer, camera, BRICK)
    for end in (POSE, turned(np.diag([1.0, -1, -1]))):
        rendering = renderer.render([BRICK], [end], camera)
        image = np.where(rendering.instance[..., None] >= 0, rendering.albedo * 128, 90)
        depth = measured(renderer, camera, BRICK, end)
        estimate = seen_at(turned(OVER), renderer, camera, BRICK, end)
        search = DepthSearch({BRICK: model}, renderer)
        found = look(search, estimate, depth, image.astype(np.uint8), camera)
        up = np.array([0, 0, 1.0])
        assert (found.camera_from_object[:3, :3] @ up) @ (end[:3, :3] @ up) > 0.99


def test_colours_agree_whatever_the_light(rng):
    colours = rng.uniform(0, 1, (5, 40, 3)).astype(np.float32)
    dark = 0.3 * colours + [0.1, 0.2, 0.0]
    assert (correlation(colours, dark) > 0.8).all()
    assert (correlation(colours, 1 - colours) < -0.9).all()
    assert np.abs(correlation(colours, rng.permutation(colours, axis=1))).max() < 0.5
    assert np.abs(correlation(colours, np.full_like(colours, 0.4))).max() < 1e-6
    there = np.arange(40) < 20
    mixed = np.where(there[:, None], colours, 1 - colours)
    assert (correlation(colours, mixed, np.tile(there, (5, 1))) > 0.9).all()
    assert (correlation(colours, mixed, np.tile(~there, (5, 1))) < -0.9).all()


@pytest.mark.parametrize("distance", [800.0, 300.0])  # the nearer, the coarser the part
def test_the_picture_of_a_case_shows_what_its_depth_shows(objects, renderer, camera, distance):
    pose = POSE.copy()
    pose[:3, 3] *= distance / pose[2, 3]
    estimate = seen_at(pose, renderer, camera, truth=pose)
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(640) / 4, np.arange(480)[:, None] / 2
    depth = measured(renderer, camera, pose=pose)
    case = make_case(estimate, objects[HOOK], depth, image, camera)
    rows, cols = np.indices(case.view.depth.shape)
    rays = case.view.camera.unproject(np.stack([cols, rows], axis=-1), np.ones(cols.shape))
    columns, lines = np.moveaxis(camera.project(rays), -1, 0)
    assert np.abs(case.picture[..., 0] * 255 - columns / 4)[1:-1, 1:-1].max() < 1.5
    assert np.abs(case.picture[..., 1] * 255 - lines / 2)[1:-1, 1:-1].max() < 1.5


def test_where_nothing_was_measured_nothing_is_found(search, renderer, camera):
    depth = np.full((camera.height, camera.width), np.nan, np.float32)
    assert look(search, seen_at(turned(OVER), renderer, camera), depth, GREY, camera) is None


def test_a_few_measured_pixels_do_not_decide(search, renderer, camera):
    depth = measured(renderer, camera)
    few = np.full_like(depth, np.nan)
    few[::4] = depth[::4]
    model = search.objects[HOOK]
    wrong = turned(OVER)
    for pose in (POSE, wrong):
        full, some = (
            judge(
                pose, make_case(seen_at(pose, renderer, camera), model, one, GREY, camera), renderer
            )
            for one in (depth, few)
        )
        assert some.near == pytest.approx(full.near / 2, abs=0.05)
        assert some.contradicted == pytest.approx(full.contradicted / 2, abs=0.05)
    assert full.contradicted > 0.1
    nothing = np.full_like(depth, np.nan)
    blind = judge(
        POSE, make_case(seen_at(POSE, renderer, camera), model, nothing, GREY, camera), renderer
    )
    assert (blind.near, blind.contradicted, blind.hidden) == (0, 0, 0)


def test_what_corrections_made_worse_is_taken_back(search, renderer, camera):
    """Some other thing beside the object was taken for it: keypoints know better."""
    depth = np.full((camera.height, camera.width), np.nan, np.float32)
    keypoints = camera.project(search.objects[HOOK].keypoints @ POSE[:3, :3].T + POSE[:3, 3])
    keypoints[::2] += 40  # so that there is doubt
    moved = POSE.copy()
    moved[:3, 3] += [60.0, 20, -250]
    spreads = np.full(16, 2.0)
    wrong = replace(seen_at(moved, renderer, camera), keypoints=keypoints, keypoint_spreads=spreads)
    before = PosedObject(HOOK, POSE, wrong.covariance)
    assert look(search, wrong, depth, GREY, camera) is None
    assert look(search, wrong, depth, GREY, camera, before=before) is before
    right = replace(wrong, camera_from_object=POSE)
    worse = PosedObject(HOOK, moved, wrong.covariance)
    assert look(search, right, depth, GREY, camera, before=worse) is None


def test_a_box_beyond_the_image_finds_nothing(search, renderer, camera):
    estimate = seen_at(turned(OVER), renderer, camera)
    beyond = replace(estimate, box=(2000.0, 2000.0, 2100.0, 2100.0))
    assert look(search, beyond, measured(renderer, camera), GREY, camera) is None


def test_estimates_take_over_what_is_found_and_how_well_it_agrees(search, renderer, camera):
    """Depth by itself fits the pose that the picture gives, but to no avail."""
    depth, estimate = measured(renderer, camera), seen_at(turned(ASKEW), renderer, camera)
    keypoints = camera.project(search.objects[HOOK].keypoints @ POSE[:3, :3].T + POSE[:3, 3])
    keypoints[3] += 30
    evidence = Evidence(0.5, 0.8, 0.3, 1.0, 1.0, 0.1)
    estimate = replace(estimate, keypoints=keypoints, evidence=evidence)
    [alone] = correct_with_depth([estimate], depth, GREY, camera, renderer)
    [found] = correct_with_depth([estimate], depth, GREY, camera, renderer, search=search)
    assert not np.array_equal(alone.camera_from_object, estimate.camera_from_object)
    assert degrees(alone.camera_from_object, POSE) > 30
    assert degrees(found.camera_from_object, POSE) < 2
    posed = PosedObject(HOOK, found.camera_from_object, found.covariance)
    assert found.depth_agreement == depth_agreement(posed, depth, camera, renderer) > 0.9
    assert alone.depth_agreement < 0.7
    assert found.score == estimate.score
    assert np.flatnonzero(~found.inliers).tolist() == [3]
    assert replace(found.evidence, depth=None) == estimate.evidence
    assert found.evidence.depth.near > 0.95 and found.evidence.depth.contradicted < 0.01
    assert alone.evidence == estimate.evidence
    unknown = replace(estimate, evidence=None)
    [found] = correct_with_depth([unknown], depth, GREY, camera, renderer, search=search)
    assert found.evidence is None


def test_what_was_corrected_before_takes_fewer_looks_at_the_surface(renderer, camera, monkeypatch):
    depth, looks = measured(renderer, camera), []
    surface = renderer.surface
    monkeypatch.setattr(renderer, "surface", lambda *one: looks.append(one) or surface(*one))
    slightly = turned(matrix_from_vector(np.radians([0.6, -0.5, 0.4])))
    slightly[:3, 3] += [0.5, -0.5, 2.0]
    counts = []
    for again in (False, True):
        looks.clear()
        estimate = seen_at(slightly, renderer, camera)
        [found] = correct_with_depth([estimate], depth, GREY, camera, renderer, again=again)
        assert degrees(found.camera_from_object, POSE) < 0.5  # of 0.9
        assert np.linalg.norm(found.camera_from_object[:3, 3] - POSE[:3, 3]) < 0.5
        counts.append(len(looks))
    assert counts[1] == counts[0] - 1


def test_a_search_is_told_what_corrections_have_changed(search, renderer, camera):
    class Back(DepthSearch):
        """Takes every correction back."""

        def __call__(self, case, before=None):
            return before

    depth, back = measured(renderer, camera), Back(search.objects, renderer)
    moved = POSE.copy()
    moved[2, 3] += 10
    estimate = seen_at(moved, renderer, camera)
    left, top, right, bottom = estimate.box
    doubtful = replace(estimate, box=(2 * left - right, top, right, bottom))
    for one, looked_for in [(estimate, False), (doubtful, True)]:
        [corrected] = correct_with_depth([one], depth, GREY, camera, renderer, search=search)
        [found] = correct_with_depth([one], depth, GREY, camera, renderer, search=back)
        assert corrected.camera_from_object[2, 3] == pytest.approx(POSE[2, 3], abs=1)
        assert np.array_equal(found.camera_from_object, moved) == looked_for
    nothing = np.full_like(depth, np.nan)
    [left] = correct_with_depth([estimate], nothing, GREY, camera, renderer, search=back)
    assert left.depth_agreement is None and np.array_equal(left.camera_from_object, moved)


def test_attitudes_show_the_surface_that_a_camera_would_see(objects, renderer):
    model = objects[HOOK]
    attitudes = draw_attitudes(model, renderer)
    distance = 6 * model.diameter
    camera = Camera(800, 800, 199.5, 199.5, 400, 400)
    for rotation, points in list(zip(attitudes.rotations, attitudes.points, strict=True))[::97]:
        assert np.allclose(rotation @ rotation.T, np.eye(3))
        pose = make_transform(rotation, np.array([0, 0, distance]))
        depth = renderer.depth(HOOK, pose, camera)
        cols, rows = np.rint(camera.project(points + pose[:3, 3])).astype(int).T
        off = np.abs(depth[rows, cols] - points[:, 2] - distance)  # NaN on some edges
        assert np.mean(off < 2) > 0.8


def test_attitudes_along_a_ray_look_the_same_from_there(objects, renderer):
    attitudes = draw_attitudes(objects[HOOK], renderer)
    ray = np.array([0.3, -0.2, 1.0])
    moved = attitudes.along(ray)
    unit = ray / np.linalg.norm(ray)
    assert np.allclose(moved.points @ unit, attitudes.points[..., 2], atol=1e-3)
    on_object = np.einsum("aji,anj->ani", attitudes.rotations, attitudes.points)
    assert np.allclose(
        np.einsum("aji,anj->ani", moved.rotations, moved.points), on_object, atol=1e-2
    )


def test_a_sheet_is_drawn_from_wherever_it_can_be_seen(objects, renderer):
    attitudes = draw_attitudes(objects[SHEET], renderer)
    assert len(attitudes.points) > 500
    assert attitudes.points.shape[1:] == (N_POINTS, 3)
