"""A pipeline whose network is a stand-in that draws the right heatmaps."""

from dataclasses import replace

import numpy as np
import pytest

from heatpose.geometry.boxes import box_of_points
from heatpose.geometry.transforms import invert, rotation_angle, transform_points
from heatpose.model.heatmaps import SIGMA, encode, heatmap_from_crop
from heatpose.objects.catalogue import ObjectModel
from heatpose.objects.keypoints import select_keypoints
from heatpose.pipeline import PoseEstimator
from heatpose.runtime.bundle_record import CropSettings
from heatpose.types import Detection, Observation

CROP = CropSettings(size=256, margin=1.2, stride=4, sigma=SIGMA)


class KnowsTheCropCameras(PoseEstimator):
    """The pipeline as it is, but its stand-in network is told where the crops were cut."""

    def crop(self, observation, detections):
        crops, cameras = super().crop(observation, detections)
        self.predictor.cameras = cameras
        return crops, cameras


class TrueHeatmaps:
    """A stand-in for the network: draws the right heatmaps of poses that it is told."""

    def __init__(self, objects):
        self.objects = objects
        self.poses = {}  # by object id
        self.cameras = []  # of the crops to come
        self.batches = []

    def __call__(self, crops, object_index):
        self.batches.append(crops.shape)
        size = crops.shape[1] // 4
        maps = []
        for index, camera in zip(object_index, self.cameras, strict=True):
            model = self.objects[index]
            seen = camera.project(transform_points(self.poses[model.object_id], model.keypoints))
            maps.append(encode(heatmap_from_crop(seen), size, size))
        return np.stack(maps).astype(np.float32)


def make_object(object_id, mesh):
    return ObjectModel(
        object_id=object_id,
        name=f"object {object_id}",
        mesh=mesh,
        keypoints=select_keypoints(mesh, "bbox", None),
        symmetries=np.eye(4)[None],
        diameter=160.0,
    )


@pytest.fixture
def objects(cube_mesh, brick_mesh):
    """Without colours, so that nothing but keypoints says which way round they are."""
    meshes = {7: cube_mesh, 3: brick_mesh}
    return [make_object(i, replace(mesh, colours=None)) for i, mesh in meshes.items()]


@pytest.fixture
def estimator(objects):
    return KnowsTheCropCameras(TrueHeatmaps(objects), objects, CROP)


def detection(model, pose, camera, score=1.0):
    box = box_of_points(camera.project(transform_points(pose, model.mesh.vertices)))
    return Detection(model.object_id, box, score)


def difference(first, second):
    between = first @ invert(second)
    return np.degrees(rotation_angle(between[:3, :3])), np.linalg.norm(first[:3, 3] - second[:3, 3])


def black(camera):
    return Observation(np.zeros((camera.height, camera.width, 3), np.uint8), camera)
