"""A picture of training images with the boxes that the detector finds and those that are true."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from heatpose.evaluate.detections import TrueBox
from heatpose.geometry.arrays import Box, Image
from heatpose.types import Detection

FOUND, TRUE = (255, 80, 40), (60, 220, 90)  # RGB
LEAST_SCORE = 0.25  # of what is drawn
SIDE = 320  # of a picture, px


def detection_sheet(
    images: Sequence[Image],
    truths: Mapping[int, Sequence[TrueBox]],
    found: Mapping[int, Sequence[Detection]],
    columns: int = 4,
) -> Image:
    """Draw images side by side, in their corners at most four rows of them.

    Args:
        images: square and of one size.
        truths: by number of the image; green.
        found: by number of the image; red, with object id and score in percent.
        columns: images in a row; missing ones are black.
    """
    count = min(len(images), 4 * columns)
    pictures = [_draw(images[i], truths.get(i, ()), found.get(i, ())) for i in range(count)]
    columns = min(columns, count)
    pictures += [np.zeros_like(pictures[0])] * (-count % columns)
    rows = [np.hstack(pictures[i : i + columns]) for i in range(0, count, columns)]
    return np.vstack(rows)


def _draw(image: Image, truths: Sequence[TrueBox], found: Sequence[Detection]) -> Image:
    scale = SIDE / len(image)
    picture = np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    for truth in truths:
        _rectangle(picture, truth.box, scale, TRUE)
    for one in found:
        if one.score >= LEAST_SCORE:
            corner = _rectangle(picture, one.box, scale, FOUND)
            text = f"{one.object_id} {100 * one.score:.0f}"
            cv2.putText(picture, text, corner, cv2.FONT_HERSHEY_PLAIN, 0.8, FOUND, 1, cv2.LINE_AA)
    return picture


def _rectangle(
    picture: Image, box: Box, scale: float, colour: tuple[int, int, int]
) -> tuple[int, int]:
    """Draw a box of the unscaled image and return a place for words above it."""
    left, top, right, bottom = (round((edge + 0.5) * scale - 0.5) for edge in box)
    cv2.rectangle(picture, (left, top), (right, bottom), colour, 1)
    return left, max(top - 2, 8)
