"""Estimated poses over the image they were estimated from."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from heatpose.geometry.arrays import Array, Box, Image, Mask
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer
from heatpose.types import Observation, PoseEstimate

Colour = tuple[int, int, int]
Position = Array | tuple[float, float]  # (x, y), px of the image

# Of the outlines, by object: far apart from each other, and from the axes and keypoints.
OUTLINES: tuple[Colour, ...] = (
    (255, 225, 25),
    (70, 240, 240),
    (240, 50, 230),
    (245, 130, 48),
    (188, 246, 12),
    (250, 190, 212),
    (145, 130, 255),
    (170, 255, 195),
    (220, 190, 255),
    (255, 250, 200),
)
AXES: tuple[Colour, ...] = ((230, 40, 40), (40, 190, 40), (60, 100, 255))  # x, y, z
INLIER, OUTLIER, PAPER = (60, 255, 60), (255, 60, 60), (25, 25, 25)
_FRACTION_BITS = 4  # of the positions that OpenCV draws at: sixteenths of a pixel
_SMALL = 1000  # images with a longer side below this are enlarged, px


class Overlay:
    """Draws poses of known objects; keeps their meshes ready."""

    def __init__(self, objects: Sequence[ObjectModel]) -> None:
        self._objects: Mapping[int, ObjectModel] = {one.object_id: one for one in objects}
        self._renderer = Renderer({one.object_id: one.mesh for one in objects})
        self._colours = {
            one.object_id: OUTLINES[index % len(OUTLINES)] for index, one in enumerate(objects)
        }

    def draw(self, observation: Observation, estimates: Sequence[PoseEstimate]) -> Image:
        """Draw poses over the image, twice as large if it is small.

        Each has the outline of its model, the axes of its object (x red, y green, z blue), its
        keypoints (green dots those that support the pose, red crosses the others), the box it
        was looked for in, its name and its score.

        Args:
            observation: the undistorted image and its camera.
            estimates: what was found in it.

        Returns:
            The picture, (h, w, 3) or (2 h, 2 w, 3), RGB.
        """
        scale = 2 if max(observation.image.shape[:2]) < _SMALL else 1
        canvas = _Canvas(observation, scale)
        for one in reversed(estimates):  # the best last, on top
            self._draw_one(canvas, one)
        for one in reversed(estimates):  # words over everything
            name = self._objects[one.object_id].name
            canvas.label(f"{name} {how_sure(one)}", one.box, self._colours[one.object_id])
        return canvas.image

    def _draw_one(self, canvas: "_Canvas", one: PoseEstimate) -> None:
        colour, pose = self._colours[one.object_id], one.camera_from_object
        canvas.box(one.box, colour)
        depth = self._renderer.depth(one.object_id, pose, canvas.camera)
        canvas.outline(np.isfinite(depth), colour)
        canvas.keypoints(one.keypoints, one.inliers)
        canvas.axes(pose, self._objects[one.object_id].diameter / 2)


def how_sure(estimate: PoseEstimate) -> str:
    """Return the probability of a pose for people, or its score where nothing was calibrated."""
    sure = estimate.probability
    return f"{estimate.score:.2f}" if sure is None else f"{sure:.0%}"


class _Canvas:
    """An enlarged image to draw on. Positions are px of the image, or of the camera's frame."""

    def __init__(self, observation: Observation, scale: int) -> None:
        height, width = observation.image.shape[:2]
        size = (width * scale, height * scale)
        larger = cv2.resize(observation.image, size, interpolation=cv2.INTER_LINEAR)
        self.image: Image = np.array(larger, np.uint8)
        self.scale = scale
        shift = np.full(2, (scale - 1) / 2)  # x goes to (x + 0.5) * scale - 0.5
        self.camera: Camera = observation.camera.warped(scale, shift, *size)

    def outline(self, mask: Mask, colour: Colour) -> None:
        """Draw around the true pixels of a mask of the canvas' size."""
        contours, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(self.image, contours, -1, PAPER, 4, cv2.LINE_AA)
        cv2.drawContours(self.image, contours, -1, colour, 2, cv2.LINE_AA)

    def box(self, box: Box, colour: Colour) -> None:
        """Draw the corners of a box."""
        left, top, right, bottom = box
        length = 0.15 * min(right - left, bottom - top)
        for x, inwards in ((left, length), (right, -length)):
            for y, downwards in ((top, length), (bottom, -length)):
                self._line((x, y), (x + inwards, y), colour, 1)
                self._line((x, y), (x, y + downwards), colour, 1)

    def axes(self, camera_from_object: Array, length: float) -> None:
        """Draw the axes of an object, ``length`` in mm."""
        ends = np.vstack([np.zeros(3), length * np.eye(3)])
        points = transform_points(camera_from_object, ends)
        if (points[:, 2] <= 0).any():
            return
        origin, *tips = (self.camera.project(points) + 0.5) / self.scale - 0.5
        for tip, colour in zip(tips, AXES, strict=True):
            self._line(origin, tip, PAPER, 4)
            self._line(origin, tip, colour, 2)

    def keypoints(self, pixels: Array, inliers: Mask) -> None:
        """Draw those that are there."""
        for pixel, inlier in zip(pixels, inliers, strict=True):
            if not np.isfinite(pixel).all():
                continue
            if inlier:
                at = self._at(pixel)
                for radius, colour in ((3.0, PAPER), (2.0, INLIER)):
                    wide = round(radius * 2**_FRACTION_BITS)
                    cv2.circle(self.image, at, wide, colour, -1, cv2.LINE_AA, _FRACTION_BITS)
            else:
                arm = 3.0 / self.scale
                for sign in (-1, 1):
                    self._line(pixel - [arm, sign * arm], pixel + [arm, sign * arm], OUTLIER, 1)

    def label(self, text: str, box: Box, colour: Colour) -> None:
        """Write above a box, or inside where there is no room."""
        font, size, pad = cv2.FONT_HERSHEY_SIMPLEX, 0.5, 3
        (width, height), below = cv2.getTextSize(text, font, size, 1)
        x, y = self._pixel(box[:2])
        x = int(np.clip(x, 0, max(self.image.shape[1] - width - 2 * pad, 0)))
        y = int(np.clip(y, height + below + 2 * pad, self.image.shape[0] - 1))
        corner = (x + width + 2 * pad, y)
        cv2.rectangle(self.image, (x, y - height - below - 2 * pad), corner, PAPER, -1)
        at = (x + pad, y - below - pad)
        cv2.putText(self.image, text, at, font, size, colour, 1, cv2.LINE_AA)

    def _line(self, start: Position, end: Position, colour: Colour, width: int) -> None:
        ends = (self._at(start), self._at(end))
        cv2.line(self.image, *ends, colour, width, cv2.LINE_AA, _FRACTION_BITS)

    def _pixel(self, position: Position) -> Array:
        """Return where on the canvas a position of the image is, px."""
        return (np.asarray(position, float) + 0.5) * self.scale - 0.5

    def _at(self, position: Position) -> tuple[int, int]:
        """Return the same as OpenCV's drawing functions want it; far outside is cut off there."""
        x, y = np.clip(self._pixel(position), -1e4, 1e4) * 2**_FRACTION_BITS
        return round(float(x)), round(float(y))
