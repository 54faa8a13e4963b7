import time

import cv2
import numpy as np
import pytest

from heatpose.data.frames import Frame
from heatpose.data.images import write_image
from heatpose.evaluate.latency import Stopwatch, machine, measure
from heatpose.geometry.camera import Camera
from heatpose.objects.catalogue import ObjectModel
from heatpose.pipeline import PoseEstimator
from heatpose.runtime.bundle_record import CropSettings
from heatpose.types import Detection


def test_a_stopwatch_adds_up_by_name():
    watch = Stopwatch()
    for name, seconds in (("nap", 0.01), ("rest", 0.01), ("nap", 0.03)):
        with watch(name):
            time.sleep(seconds)
    assert list(watch.milliseconds) == ["nap", "rest"]
    assert watch.milliseconds["nap"] >= 40 > watch.milliseconds["rest"] >= 10


@pytest.fixture
def frames(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((30, 40, 3), np.uint8))
    camera = Camera(fx=100.0, fy=100, cx=20, cy=15, width=40, height=30)
    found = (Detection(7, (5.0, 5, 25, 25), 1.0),)
    return [Frame(tmp_path / "a.png", camera, found, 0, i) for i in range(5)] + [
        Frame(tmp_path / "missing.png", camera, (), 0, 9)  # has no boxes, and is not read
    ]


def test_stages_take_what_they_take(frames, cube_mesh):
    """A network that takes 20 ms, and finds nothing."""

    calls = []

    def slow(crops, object_index):
        time.sleep(0.02)
        calls.append(len(crops))
        return np.zeros((len(crops), 8, 16, 16), np.float32)

    cube = ObjectModel(7, "cube", cube_mesh, cube_mesh.vertices, np.eye(4)[None], 138.6)
    estimator = PoseEstimator(slow, [cube], CropSettings(size=64, margin=1.2, stride=4, sigma=1.0))
    untimed, threads = estimator.timed, cv2.getNumThreads()
    latency = measure(estimator, frames, threads=1)
    stages = latency.stages
    assert list(stages) == ["read", "crop", "network", "decode", "solve", "outline", "total"]
    assert stages["network"].median >= 20
    assert stages["total"].median >= stages["network"].median
    assert stages["crop"].p90 < 20
    assert len(calls) == 3 + 5  # the first three are not counted
    assert (latency.n_frames, latency.poses_per_frame) == (5, 0.0)
    assert estimator.timed is untimed and cv2.getNumThreads() == threads


def test_the_machine_has_a_name_and_cores():
    name, _, cores = machine().rpartition(", ")
    assert name and int(cores.removesuffix(" cores")) >= 1
