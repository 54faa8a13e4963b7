import numpy as np

from heatpose.evaluate.detections import TrueBox
from heatpose.train.detection_sheet import FOUND, TRUE, detection_sheet
from heatpose.types import Detection


def test_boxes_are_drawn_where_they_are_scaled_and_images_left_as_they_are():
    images = [np.zeros((640, 640, 3), np.uint8) for _ in range(6)]
    box = (99.5, 199.5, 299.5, 399.5)  # from 50 to 150 and 100 to 200 of pictures half the size
    truths = {1: [TrueBox(3, box)]}
    found = {5: [Detection(8, box, 0.9), Detection(3, (9.0, 9.0, 99.0, 99.0), 0.1)]}
    sheet = detection_sheet(images, truths, found)
    assert sheet.shape == (640, 1280, 3)
    assert not any(image.any() for image in images)
    for colour, left, top in ((TRUE, 320, 0), (FOUND, 320, 320)):
        picture = sheet[top : top + 320, left : left + 320]
        rows, columns = np.nonzero((picture == colour).all(axis=2))
        corners = [columns.min(), rows.max(), columns.max()]
        np.testing.assert_allclose(corners, [50, 200, 150], atol=1)
    assert not sheet[:, 640:].any()  # sure of nothing there, and no seventh and eighth image
