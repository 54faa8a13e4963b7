"""Everything for real, as small as it can be: too little is learned to find anything."""

import numpy as np
import pytest

from heatpose.create.plan import CreateConfig
from heatpose.create.run import create
from heatpose.export import bundled_detector
from heatpose.geometry.camera import Camera
from heatpose.runtime.bundle import read_bundle


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the libraries that train and export
def test_from_meshes_to_a_bundle_that_finds_and_a_report(meshes, tmp_path, monkeypatch):
    # Batch norms of so few steps make boxes of any size, which float16 moves by pixels.
    monkeypatch.setattr(bundled_detector, "LARGEST_SHIFT", np.inf)
    monkeypatch.setattr(bundled_detector, "LARGEST_CHANGE", np.inf)
    config = CreateConfig(
        minutes=0.01,
        camera=Camera(fx=150.0, fy=150.0, cx=79.5, cy=59.5, width=160, height=120),
        pathtrace=False,
        views=2,
        crop_size=64,
        image_size=96,
        keypoint_batch=4,
        detector_batch=4,
        workers=1,
        least_steps=2,
    )
    made = create(meshes, tmp_path / "part.heatpose", config)
    bundle = read_bundle(made.bundle)
    assert [one.name for one in bundle.objects] == ["brick", "cube"]
    assert bundle.crop.size == 64
    assert bundle.detector.settings.object_ids == [1, 2]
    assert bundle.detector.settings.image_sizes == [128, 192]  # about a frame; training saw windows
    # Of the few poses from colour none can be right; with depth they can.
    assert all(one.depth for one in bundle.calibrations)
    page = made.report.read_text()
    assert "cannot calibrate" in page and "with depth" in page
    # Any depth camera measures the unseen scenes; the others are as they are.
    [measured] = tmp_path.rglob("000000/depth_clean")
    assert "unseen" in measured.parts
    assert page.count("<img") >= 4 and "unseen rendered images" in page
