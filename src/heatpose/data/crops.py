"""Cut out one object, together with the camera that sees the crop."""

import cv2
import numpy as np

from heatpose.geometry.arrays import Array, Box, Image
from heatpose.geometry.camera import Camera


def square_around(box: Box, margin: float) -> Box:
    """Return the square with the centre of a box whose side is ``margin`` times its longer side."""
    left, top, right, bottom = box
    half = max(right - left, bottom - top) * margin / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    return x - half, y - half, x + half, y + half


def crop_around(
    image: Image, camera: Camera, box: Box, size: int, margin: float = 1.2
) -> tuple[Image, Camera]:
    """Cut a square around a box and resize it.

    Args:
        image: (h, w, 3).
        camera: the camera of the image.
        box: left, top, right, bottom, px.
        size: side of the result, px.
        margin: side of the square over the longer side of the box.

    Returns:
        The crop, (size, size, 3), black outside the image, and the camera that sees it.
    """
    square = square_around(box, margin)
    scale, shift = crop_from_image(square, size)
    patch, origin = _patch(image, square, spread=_blur_before(scale))
    if patch.size == 0:
        crop = np.zeros((size, size, 3), np.uint8)
    else:
        moved = shift + scale * origin
        crop_from_patch = np.array([[scale, 0, moved[0]], [0, scale, moved[1]]])
        warped = cv2.warpAffine(patch, crop_from_patch, (size, size), flags=cv2.INTER_LINEAR)
        crop = np.asarray(warped, np.uint8)
    return crop, camera.warped(scale, shift, size, size)


def crop_stretched(
    image: Image, camera: Camera, box: Box, size: int, margin: float = 1.0
) -> tuple[Image, Camera]:
    """Cut a box out and stretch it to a square.

    Many do so, and it is here to be compared with: what an object is wide and high is lost to a
    network, though not to the camera, whose focal lengths change along with it.

    Args:
        image: (h, w, 3).
        camera: the camera of the image.
        box: left, top, right, bottom, px.
        size: side of the result, px.
        margin: sides of what is cut over those of the box.

    Returns:
        The crop, (size, size, 3), black outside the image, and the camera that sees it.
    """
    low, high = np.array(box[:2], float), np.array(box[2:], float)
    centre, half = (low + high) / 2, (high - low) / 2 * margin
    corners = np.concatenate([centre - half, centre + half]).tolist()
    rectangle = (corners[0], corners[1], corners[2], corners[3])
    scale = size / (2 * half)
    shift = -0.5 - scale * (centre - half)
    # Blurred as the side needs it that shrinks less, so that no side loses what it can show.
    patch, origin = _patch(image, rectangle, _blur_before(float(scale.max())))
    crop = np.zeros((size, size, 3), np.uint8)
    if patch.size:
        warp = np.column_stack([np.diag(scale), shift + scale * origin])
        crop = np.asarray(cv2.warpAffine(patch, warp, (size, size), flags=cv2.INTER_LINEAR))
    return crop, camera.warped(scale, shift, size, size)


def crop_from_image(square: Box, size: int) -> tuple[float, Array]:
    """Return how pixels move from an image to the crop of a square of it.

    Args:
        square: left, top, right, bottom, px.
        size: side of the crop, px.

    Returns:
        The scale s and the shift t, (2,), px, of p -> s p + t.
    """
    scale = size / (square[2] - square[0])
    # The corner of the square lands on the outer edge of pixel 0.
    return scale, -0.5 - scale * np.array(square[:2])


def _blur_before(scale: float) -> float:
    """Return the spread, px, of the blur that a resize by ``scale`` needs to be free of aliasing.

    A pixel that shrinks to ``scale`` of its size must gather what 1 / scale pixels showed:
    variances of box filters add up as side^2 / 12.
    """
    variance = (1 / scale**2 - 1) / 12
    return float(np.sqrt(variance)) if scale < 1 else 0.0


def _patch(image: Image, square: Box, spread: float) -> tuple[Image, Array]:
    """Return the part of an image that a square needs, blurred, and its top left pixel (x, y)."""
    height, width = image.shape[:2]
    reach = 2 + int(np.ceil(3 * spread))  # px beyond the square that blur and interpolation touch
    left, top = (max(int(np.floor(edge)) - reach, 0) for edge in square[:2])
    right = min(int(np.ceil(square[2])) + reach, width)
    bottom = min(int(np.ceil(square[3])) + reach, height)
    patch = image[top : max(bottom, top), left : max(right, left)]
    if spread > 0.2 and patch.size:  # below, a Gaussian on whole pixels would change nothing
        blurred = cv2.GaussianBlur(patch, (0, 0), spread, borderType=cv2.BORDER_REPLICATE)
        patch = np.asarray(blurred, np.uint8)
    return patch, np.array([left, top], float)
