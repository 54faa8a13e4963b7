from dataclasses import replace

import cv2
import numpy as np
import pytest

from heatpose.data import scene_samples
from heatpose.data.backgrounds import Backgrounds
from heatpose.data.bop import BopDataset
from heatpose.data.depth_samples import DepthConfig
from heatpose.data.samples import SampleConfig, SampleMaker, SampleStream
from heatpose.data.scene_samples import MixedSampleMaker, SceneSampleMaker, affine_of_roll
from heatpose.data.views import ViewConfig
from heatpose.errors import LabelError, UnknownObjectError
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.objects.mesh import sample_surface
from heatpose.train.labels import check_labels

IDENTITY = np.eye(4)[None]
PLAIN = {"crop_size": 96, "cut_outs": 0.0}


@pytest.fixture
def objects(brick_mesh, cube_mesh):
    return [
        ObjectModel(2, "cube", cube_mesh, cube_mesh.vertices, IDENTITY, 138.6),
        ObjectModel(1, "brick", brick_mesh, brick_mesh.vertices, IDENTITY, 161.6),
    ]


@pytest.fixture
def make(drawn_bop, objects):
    def make_maker(name="drawn", models=None, n_images=6, **config):
        dataset = BopDataset(drawn_bop(name, n_images, coordinates=True), "train")
        config = SampleConfig(**{**PLAIN, **config})
        return SceneSampleMaker([dataset], models or objects, Backgrounds(), config)

    return make_maker


def shown_beside_labels(maker, sample, rng):
    """How far the picture shows points of the surface from where the sample says, (n, 2)."""
    model = maker.objects[sample.object_index]
    points = sample_surface(model.mesh, 300, rng)
    pixels = sample.camera.project(transform_points(sample.camera_from_object, points))
    x, y = pixels.T.astype(np.float32)
    seen = cv2.remap(sample.crop, x[None], y[None], cv2.INTER_LINEAR)[0]
    shown = (seen.astype(float) - 128) / 2  # mm, as the picture codes them
    near = np.linalg.norm(shown - points, axis=1) < 5  # not the back, nor beyond an edge
    there = sample.camera.project(transform_points(sample.camera_from_object, shown[near]))
    return there - pixels[near]


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["straight", "rolled"])
def test_pictures_show_the_surface_where_labels_say(make, monkeypatch, share):
    monkeypatch.setattr(scene_samples, "degrade", lambda rng, image, harsh: image)
    monkeypatch.setattr(scene_samples, "ROLLED", share)
    maker = make(box_cut=0.0)
    errors = []
    for number in range(40):
        rng = np.random.default_rng([2, number])
        errors.append(shown_beside_labels(maker, maker(rng), rng))
    assert sum(map(len, errors)) > 2000
    # Colours are whole numbers, half a mm each: that is noise. A shift of all would be an error.
    together = np.concatenate(errors)
    np.testing.assert_allclose(np.median(together, axis=0), 0, atol=0.02)
    assert np.median(np.linalg.norm(together, axis=1)) < 0.2
    turned = [np.median(one, axis=0) for one in errors if len(one) > 50]
    assert np.abs(turned).max() < 0.1


def test_a_rolled_camera_sees_points_where_the_affine_map_takes_their_pixels(random_pose, cube):
    camera = Camera(fx=500, fy=560, cx=300.2, cy=250.7, width=640, height=480)
    rolled = camera.warped(1.0, np.array([-40.0, 12.5]), 200, 100)
    for angle in (0.0, 0.4, np.pi / 2, -2.8):
        points = transform_points(random_pose(), cube)
        c, s = np.cos(angle), np.sin(angle)
        turned = points @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]])
        warp = affine_of_roll(camera, rolled, angle)
        moved = camera.project(points) @ warp[:, :2].T + warp[:, 2]
        np.testing.assert_allclose(moved, rolled.project(turned), atol=1e-9)


def test_the_box_of_a_rolled_view_is_as_tight_as_that_of_a_straight_one(make):
    maker = make()
    for index, instances in enumerate(maker.instances):
        for instance in instances:
            if not is_whole(instance):
                continue
            np.testing.assert_allclose(
                maker._box_when_rolled(index, instance, 0.0), instance.visible_box, atol=2.5
            )
            half, box = maker._box_when_rolled(index, instance, np.pi / 4), instance.visible_box
            diagonal = np.hypot(box[2] - box[0], box[3] - box[1])
            assert max(half[2] - half[0], half[3] - half[1]) < 1.02 * diagonal


def is_whole(instance):
    return np.allclose(instance.box, instance.visible_box, atol=1e-6)


def test_labels_pass_the_check_before_training(make):
    assert check_labels(make(n_images=3), n_samples=16) < 0.05


def test_without_roll_poses_are_those_of_the_files(make):
    maker = make(roll=0.0)
    stored = {
        (index, one.camera_from_object.tobytes())
        for index, instances in enumerate(maker.instances)
        for one in instances
    }
    for number in range(12):
        sample = maker(np.random.default_rng(number))
        assert (sample.object_index, sample.camera_from_object.tobytes()) in stored


def test_objects_come_equally_often_and_others_of_the_data_set_never(make):
    samples = draw(make(), 120)
    assert {sample.object_index for sample in samples} == {0, 1}
    assert 0.35 < np.mean([sample.object_index for sample in samples]) < 0.65


def draw(maker, count):
    return [maker(np.random.default_rng([7, number])) for number in range(count)]


def test_hidden_objects_are_left_out(make):
    everything = make("all", views=ViewConfig(min_visible=0.0))
    most = make("most", views=ViewConfig(min_visible=0.95))
    assert 0 < sum(map(len, most.instances)) < sum(map(len, everything.instances))


def test_hidden_views_come_as_often_as_asked_for(make):
    maker = make(views=ViewConfig(hidden=0.5))
    views = maker.instances[0]
    maker.instances[0] = [replace(one, visible_fraction=1.0) for one in views]
    maker.hidden[0] = [replace(views[0], visible_fraction=0.5)]
    rng = np.random.default_rng(0)
    drawn = [maker._instance(rng, 0).visible_fraction < 1 for _ in range(1000)]
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.05)
    maker.hidden[0] = []  # where nothing is hidden, all views serve
    assert maker._instance(rng, 0).visible_fraction == 1


def test_it_takes_the_place_of_a_sample_maker(make):
    stream = SampleStream(make(), 4, seed=3)
    first, again = stream[1], stream[1]
    assert first["crop"].shape == (96, 96, 3)
    assert all((first[name] == again[name]).all() for name in first)


def test_beyond_a_turned_picture_there_is_background(make, monkeypatch):
    monkeypatch.setattr(scene_samples, "degrade", lambda rng, image, harsh: image)
    monkeypatch.setattr(scene_samples, "ROLLED", 1.0)
    maker = make(roll=0.01)
    maker.backgrounds.draw = lambda rng, height, width: np.full((height, width, 3), 77, np.uint8)
    near_the_edge = [s for s in draw(maker, 30) if s.camera.cx / s.camera.fx > 0.35]
    assert near_the_edge  # the image ends at x / z = -85.3 / 300
    for sample in near_the_edge:
        beyond = sample.camera.cx - 0.31 * sample.camera.fx  # px
        assert (sample.crop[30:-30, : int(beyond)] == 77).all()


def test_another_mesh_or_unit_is_found_out(make, objects, brick_mesh):
    metres = brick_mesh.vertices / 1000
    small = type(brick_mesh)(metres, brick_mesh.faces, brick_mesh.normals)
    wrong = ObjectModel(1, "brick", small, metres, IDENTITY, 0.16)
    with pytest.raises(LabelError, match=r"object 1 \(brick\) .* in mm\?"):
        make(models=[objects[0], wrong])


def test_an_object_that_is_nowhere_is_an_error(make, objects, cube_mesh):
    other = ObjectModel(5, "other", cube_mesh, cube_mesh.vertices, IDENTITY, 138.6)
    with pytest.raises(UnknownObjectError, match=r"object 5 is nowhere in .*train"):
        make(models=[*objects, other])


class Counted:
    def __init__(self, objects):
        self.objects, self.renderer, self.calls = objects, None, 0

    def __call__(self, rng):
        self.calls += 1


def test_mixed_samples_come_in_their_shares(objects):
    often, seldom = Counted(objects), Counted(objects)
    mixed = MixedSampleMaker([(often, 3), (seldom, 1)])
    rng = np.random.default_rng(0)
    for _ in range(400):
        mixed(rng)
    assert often.calls + seldom.calls == 400 and 75 < seldom.calls < 125
    assert mixed.objects is objects


def test_sources_of_other_objects_do_not_mix(objects):
    with pytest.raises(ValueError, match=r"same objects, got \[\[2, 1\], \[1, 2\]\]"):
        MixedSampleMaker([(Counted(objects), 1), (Counted(objects[::-1]), 1)])


@pytest.mark.parametrize("shares", [(0, 0), (1, -1)])
def test_senseless_shares_are_refused(objects, shares):
    with pytest.raises(ValueError, match="shares must be positive"):
        MixedSampleMaker([(Counted(objects), share) for share in shares])


def test_rendered_and_cut_samples_mix(make, objects):
    config = SampleConfig(crop_size=96, views=ViewConfig(smallest=40, largest=60))
    mixed = MixedSampleMaker([(make(), 0.5), (SampleMaker(objects[:], Backgrounds(), config), 0.5)])
    assert check_labels(mixed, n_samples=12) < 0.1


@pytest.mark.real
def test_outlines_of_real_frames_are_where_labels_say(real_data):
    from heatpose.objects.catalogue import read_models

    models = list(read_models(real_data / "lmo" / "models", 8, ids=[5, 8, 12]).values())
    config = SampleConfig(crop_size=128, cut_outs=0.0)
    maker = SceneSampleMaker([BopDataset(real_data / "lmo")], models, Backgrounds(), config)
    strengths = np.mean([edges_along_outline(maker, sample) for sample in draw(maker, 150)], axis=0)
    assert strengths[1] > 1.2 * max(strengths[0], strengths[2])


def edges_along_outline(maker, sample):
    """Mean edge strength under the object's outline, moved by -5, 0 and 5 px."""
    model = maker.objects[sample.object_index]
    mask = maker.renderer.render(
        [model.object_id], [sample.camera_from_object], sample.camera
    ).mask(0)
    outline = cv2.morphologyEx(np.uint8(mask), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    edges = np.hypot(*np.gradient(sample.crop.mean(axis=2)))
    return [edges[np.roll(outline, by, axis=(0, 1))].mean() / edges.mean() for by in (-5, 0, 5)]


def depth_maker(folder, objects, **config):
    models = [replace(one, object_id=i) for one, i in zip(objects, (2, 1), strict=True)]
    perfect = DepthConfig(missing=0, holes=0)
    config = SampleConfig(**{**PLAIN, "depth": perfect, **config})
    return SceneSampleMaker([BopDataset(folder)], models, Backgrounds(), config)


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["straight", "rolled"])
def test_depth_is_that_of_the_scenes(small_bop, objects, monkeypatch, share):
    """In mm, where the labels say: the surface of the object, however the camera is rolled."""
    monkeypatch.setattr(scene_samples, "ROLLED", share)
    maker = depth_maker(small_bop(), objects)
    for number in range(12):
        sample = maker(np.random.default_rng([6, number]))
        object_id = maker.objects[sample.object_index].object_id
        truth = maker.renderer.depth(object_id, sample.camera_from_object, sample.camera)
        both = np.isfinite(truth) & np.isfinite(sample.depth)
        assert both.sum() > 0.85 * np.isfinite(truth).sum()
        # Files are in steps of 0.1 mm; a rolled camera's pixels are those nearest to its own.
        assert np.median(np.abs(sample.depth - truth)[both]) < (1.5 if share else 0.3)
        assert abs(np.median((sample.depth - truth)[both])) < 0.4


def test_scenes_without_depth_give_samples_without(small_bop, objects, caplog):
    maker = depth_maker(small_bop(depth=False), objects)
    assert "2 of 2 images have no depth" in caplog.text
    sample = maker(np.random.default_rng(0))
    assert sample.depth.shape == (96, 96) and np.isnan(sample.depth).all()


def test_scenes_give_depth_only_if_it_is_wanted(small_bop, objects):
    assert depth_maker(small_bop(), objects, depth=None)(np.random.default_rng(0)).depth is None
