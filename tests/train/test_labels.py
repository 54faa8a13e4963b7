import numpy as np
import pytest
import torch
import trimesh

from heatpose.data.backgrounds import Backgrounds
from heatpose.data.samples import SampleMaker
from heatpose.errors import LabelError
from heatpose.geometry.transforms import transform_points
from heatpose.model.heatmaps import heatmap_from_crop
from heatpose.objects.catalogue import ObjectModel
from heatpose.objects.keypoints import box_keypoints
from heatpose.objects.mesh import Mesh
from heatpose.train import labels as labels_module
from heatpose.train.labels import KeypointLabels, check_labels


def label(objects, sample):
    return KeypointLabels(objects)(
        torch.tensor([sample.object_index]),
        torch.from_numpy(sample.camera.matrix).float()[None],
        torch.from_numpy(sample.camera_from_object).float()[None],
        len(sample.crop),
    )


def test_labels_are_the_projected_keypoints_of_every_symmetric_pose(objects, maker):
    for number in range(12):
        sample = maker(np.random.default_rng([1, number]))
        model = objects[sample.object_index]
        keypoints, targets = label(objects, sample)
        assert keypoints.shape == (1, 2, 8, 2)
        for j, symmetry in enumerate(model.symmetries):
            pose = sample.camera_from_object @ symmetry
            pixels = sample.camera.project(transform_points(pose, model.keypoints))
            expected = heatmap_from_crop(pixels)
            expected[~((expected > -0.5) & (expected < 15.5)).all(axis=1)] = np.nan
            np.testing.assert_allclose(keypoints[0, j], expected, atol=1e-3)
            np.testing.assert_allclose(targets.camera_from_object[0, j], pose, rtol=1e-4, atol=1e-3)
        if len(model.symmetries) == 1:
            assert keypoints[0, 1].isnan().all()
            assert targets.camera_from_object[0, 1].isfinite().all()


def test_mixed_precision_does_not_round_labels(objects, maker):
    sample = maker(np.random.default_rng(4))
    keypoints, targets = label(objects, sample)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed_keypoints, mixed_targets = label(objects, sample)
    assert torch.equal(keypoints.nan_to_num(), mixed_keypoints.nan_to_num())
    assert torch.equal(targets.heatmap_camera, mixed_targets.heatmap_camera)


def test_the_heatmap_camera_sees_the_keypoints_where_they_are_labelled(objects, maker):
    sample = maker(np.random.default_rng(3))
    keypoints, targets = label(objects, sample)
    points = targets.points @ targets.camera_from_object[:, 0, :3, :3].mT
    points = points + targets.camera_from_object[:, 0, None, :3, 3]
    seen = points @ targets.heatmap_camera.mT
    pixels = seen[..., :2] / seen[..., 2:]
    inside = keypoints[:, 0].isfinite()
    np.testing.assert_allclose(pixels[inside], keypoints[:, 0][inside], atol=1e-3)


def test_true_labels_agree_with_the_rendering_to_a_fraction_of_a_pixel(maker):
    assert check_labels(maker, n_samples=16) < 0.02


def test_labels_half_a_pixel_off_stop_the_training(maker, monkeypatch):
    true = labels_module._heatmap_matrix

    def shifted(camera_matrix):
        moved = true(camera_matrix).clone()
        moved[:, 0, 2] += 0.5 / 4  # half a pixel of the crop
        return moved

    monkeypatch.setattr(labels_module, "_heatmap_matrix", shifted)
    with pytest.raises(LabelError, match=r"labels lie 0\.\d\d px .*expected less than 0\.2 px"):
        check_labels(maker, n_samples=16)


def test_keypoints_that_are_not_on_the_object_stop_the_training(maker):
    far = [
        type(o)(o.object_id, o.name, o.mesh, o.keypoints * 3, o.symmetries, o.diameter)
        for o in maker.objects
    ]
    maker.objects = far
    with pytest.raises(LabelError, match="none of 6 rendered samples shows a keypoint"):
        check_labels(maker, n_samples=6)


def test_box_corners_which_lie_beside_the_object_are_let_be(maker):
    icosahedron = trimesh.creation.icosphere(subdivisions=0, radius=50)
    vertices, faces = np.array(icosahedron.vertices), np.array(icosahedron.faces, np.int32)
    mesh = Mesh(vertices, faces, np.array(icosahedron.vertex_normals))
    ball = ObjectModel(1, "ball", mesh, box_keypoints(mesh), np.eye(4)[None], 100.0)
    maker = SampleMaker([ball], Backgrounds(), maker.config)
    assert check_labels(maker, n_samples=20) < 0.1
    assert maker.objects == [ball]
