"""Putting pictures together in which it stays known what is seen where.

A `Canvas` carries, beside its colours, which object each pixel shows. Everything that is drawn
over something takes its pixels away, so the boxes in the end are those of what is left to see.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from heatpose.data.augment import random_outline
from heatpose.data.backgrounds import Backgrounds
from heatpose.data.detection_scenes import Piece, SeenObject
from heatpose.geometry.arrays import Array, Box, Image, Mask
from heatpose.geometry.boxes import area, box_of_mask, clip_box

GREY = 114  # of what is taken out, and around pictures that do not fill the canvas
FEATHER = (0.4, 1.2)  # px, spread of the edge of what is pasted
ROUNDING = 1.0  # px that an edge can differ by from its mask's, which has whole pixels


@dataclass(frozen=True)
class Shown:
    """An object on a canvas."""

    label: int
    box: Box  # around what its picture showed of it, also outside of the canvas, px
    visible_fraction: float  # of its silhouette, in its picture
    pixels: float  # that it had then, at the resolution of the canvas
    has_mask: bool


@dataclass(frozen=True)
class Limits:
    """What is left of an object that still gets a label."""

    visible: float  # share of its silhouette
    left: float  # share of what its picture showed
    side: float  # shorter side of the box, px


class Canvas:
    """A picture, which object each of its pixels shows, and the objects."""

    def __init__(self, height: int, width: int) -> None:
        self.image: Image = np.full((height, width, 3), GREY, np.uint8)
        self.owner: NDArray[np.int16] = np.full((height, width), -1, np.int16)
        self.shown: list[Shown] = []
        self.left, self.top = 0, 0  # of this part on the whole canvas, px

    def part(self, left: int, top: int, width: int, height: int) -> "Canvas":
        """Return a rectangle of the canvas; what is drawn on it is drawn on the whole."""
        part = Canvas.__new__(Canvas)
        part.image = self.image[top : top + height, left : left + width]
        part.owner = self.owner[top : top + height, left : left + width]
        part.shown, part.left, part.top = self.shown, self.left + left, self.top + top
        return part

    def add(self, shown: Shown) -> int:
        """Take an object up, its box in px of this part, and return its number."""
        left, top, right, bottom = shown.box
        x, y = self.left, self.top
        box = (left + x, top + y, right + x, bottom + y)
        self.shown.append(replace(shown, box=box))
        return len(self.shown) - 1

    def labels(self, limits: Limits) -> list[tuple[int, Box]]:
        """Return label and box of each object that enough is left of, and grey the others out.

        A sliver of an object is neither a fair example nor background: were it left without a
        label, the detector would be punished for finding it. Without a mask it has to stay.
        """
        found = []
        for number, shown in enumerate(self.shown):
            box, left = self._left_of(number)
            enough = left >= limits.left and left * shown.visible_fraction >= limits.visible
            if box is None:
                continue
            if enough and min(box[2] - box[0], box[3] - box[1]) >= limits.side:
                found.append((shown.label, box))
            elif shown.has_mask:
                self._take_out(number, box)
        return found

    def _left_of(self, number: int) -> tuple[Box | None, float]:
        """Return the box of what is left of an object, px, and its share of what there was."""
        shown = self.shown[number]
        height, width = self.owner.shape
        clipped = clip_box(shown.box, width, height)
        if not shown.has_mask:
            share = float(area(np.array(clipped)) / area(np.array(shown.box)))
            return (clipped if share > 0 else None), share
        left, top = max(int(clipped[0]) - 1, 0), max(int(clipped[1]) - 1, 0)
        mine = self.owner[top : int(clipped[3]) + 3, left : int(clipped[2]) + 3] == number
        inside = box_of_mask(mine)
        if inside is None:
            return None, 0.0
        edges = np.array(inside) + [left, top, left, top]
        # Where nothing was cut off, the edge is known better than to whole pixels.
        near = np.abs(edges - clipped) <= ROUNDING
        exact = np.where(near, clipped, edges).tolist()
        return (exact[0], exact[1], exact[2], exact[3]), mine.sum() / shown.pixels

    def _take_out(self, number: int, box: Box) -> None:
        """Cover what is left of an object, and the pixels beside it that it mixes with."""
        left, top = max(int(box[0]) - 2, 0), max(int(box[1]) - 2, 0)
        place = slice(top, int(box[3]) + 4), slice(left, int(box[2]) + 4)
        owner = self.owner[place]
        grown = cv2.dilate((owner == number).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        self.image[place][grown & ((owner == number) | (owner == -1))] = GREY


def draw_window(
    canvas: Canvas,
    image: Image,
    objects: Sequence[SeenObject],
    scale: float,
    corner: tuple[int, int],
) -> None:
    """Draw the window of an image that fills a canvas; nothing changes beyond the image.

    Args:
        canvas: to draw on.
        image: (h, w, 3).
        objects: what is seen in it.
        scale: px of the canvas per px of the image; it is changed a little, so that whole pixels
            of the image become whole pixels of the canvas.
        corner: the image's pixel (x, y) in the top left corner of the canvas; may lie outside.
    """
    across = _fitted(image.shape[1], canvas.image.shape[1], scale, corner[0])
    down = _fitted(image.shape[0], canvas.image.shape[0], scale, corner[1])
    if across is None or down is None:
        return
    part = image[down.source : down.source + down.length, across.source :][:, : across.length]
    size = (across.drawn, down.drawn)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    window = canvas.part(across.place, down.place, *size)
    window.image[:] = cv2.resize(part, size, interpolation=way)
    window.owner[:] = -1
    for seen in objects:
        _take_along(window, seen, across, down)


@dataclass(frozen=True)
class _Fitted:
    """How a stretch of an image comes to lie on a canvas, along one axis; all whole px."""

    source: int  # first px, image
    length: int  # image
    place: int  # first px, canvas
    drawn: int  # length on the canvas

    @property
    def scale(self) -> float:
        return self.drawn / self.length

    def moved(self, edges: Array) -> Array:
        """Return where positions of the image lie in the drawn part, px."""
        return (edges + 0.5 - self.source) * self.scale - 0.5

    def source_of(self, pixels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the image's pixel that each pixel of the drawn part shows."""
        sources: NDArray[np.int64] = np.floor((pixels + 0.5) / self.scale).astype(np.int64)
        return self.source + sources


def _fitted(side: int, room: int, scale: float, corner: int) -> _Fitted | None:
    """Fit an image's side into the room on a canvas; None where they do not meet."""
    source, place = max(corner, 0), max(round(-corner * scale), 0)
    drawn = min(round((side - source) * scale), room - place)
    if drawn < 1:
        return None
    length = min(max(round(drawn / scale), 1), side - source)
    return _Fitted(source, length, place, drawn)


def _take_along(window: Canvas, seen: SeenObject, across: _Fitted, down: _Fitted) -> None:
    """Note what a window shows of an object."""
    (left, right), (top, bottom) = (
        across.moved(np.array(seen.box[::2])),
        down.moved(np.array(seen.box[1::2])),
    )
    box = (float(left), float(top), float(right), float(bottom))
    clipped = clip_box(box, across.drawn, down.drawn)
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        return
    if seen.mask is None:
        window.add(Shown(seen.label, box, seen.visible_fraction, 0.0, has_mask=False))
        return
    mask = seen.mask.unpacked()
    pixels = float(mask.sum()) * across.scale * down.scale
    number = window.add(Shown(seen.label, box, seen.visible_fraction, pixels, has_mask=True))
    cols, rows = np.arange(across.drawn), np.arange(down.drawn)
    from_col, from_row = (
        across.source_of(cols) - seen.mask.left,
        down.source_of(rows) - seen.mask.top,
    )
    cols = cols[(from_col >= 0) & (from_col < seen.mask.width)]
    rows = rows[(from_row >= 0) & (from_row < seen.mask.height)]
    if len(cols) and len(rows):
        place = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
        window.owner[place][mask[np.ix_(from_row[rows], from_col[cols])]] = number


def paste(
    rng: np.random.Generator, canvas: Canvas, piece: Piece, label: int, scale: float, turn: float
) -> None:
    """Paste an object somewhere on a canvas, turned, with soft edges and a light of its own.

    Args:
        rng: the generator.
        canvas: to paste on.
        piece: the object.
        label: its label.
        scale: px of the canvas per px of the piece.
        turn: by how much, radians.
    """
    colours, alpha = _turned(piece, scale, turn, rng.uniform(*FEATHER))
    colours = np.clip(colours * (rng.uniform(0.7, 1.3) * rng.uniform(0.93, 1.07, 3)), 0, 255)
    visible = alpha > 0.5
    box = box_of_mask(visible)
    if box is None:
        return
    height, width = canvas.owner.shape
    left = int(rng.integers(-int((box[0] + box[2]) / 2), width - int((box[0] + box[2]) / 2)))
    top = int(rng.integers(-int((box[1] + box[3]) / 2), height - int((box[1] + box[3]) / 2)))
    placed = (box[0] + left, box[1] + top, box[2] + left, box[3] + top)
    number = canvas.add(Shown(label, placed, 1.0, float(visible.sum()), has_mask=True))
    _blend(canvas, colours, alpha, (left, top), number)


def cover(rng: np.random.Generator, canvas: Canvas, backgrounds: Backgrounds, size: float) -> None:
    """Cover a place, mostly one where an object is, with a piece of background.

    Args:
        rng: the generator.
        canvas: to draw on.
        backgrounds: where pieces come from.
        size: about the side of the piece, px.
    """
    side = max(int(size), 4)
    outline = random_outline(rng, np.full(2, side / 2), np.array([side / 2, side / 2]))
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [outline.astype(np.int32)], (255,))
    alpha = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(*FEATHER))).astype(np.float32) / 255
    height, width = canvas.owner.shape
    centre = rng.uniform(0, 1, 2) * [width, height]
    if canvas.shown and rng.random() < 0.8:
        left, top, right, bottom = canvas.shown[int(rng.integers(len(canvas.shown)))].box
        centre = rng.uniform([left, top], [right, bottom])
    corner = (int(centre[0] - side / 2), int(centre[1] - side / 2))
    _blend(canvas, backgrounds.draw(rng, side, side), alpha, corner, -1)


def _turned(piece: Piece, scale: float, turn: float, feather: float) -> tuple[Image, Array]:
    """Return colours (s, s, 3) and opacity (s, s) in [0, 1] of a scaled and turned piece."""
    height, width = piece.mask.shape
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    colours = cv2.resize(piece.colours, size, interpolation=way)
    mask = cv2.resize(piece.mask.astype(np.float32), size, interpolation=way)
    side = int(np.ceil(np.hypot(*size))) + 6
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, -s], [s, c]])
    shift = (side - 1) / 2 - rotation @ (np.array(size) - 1) / 2
    warp = np.column_stack([rotation, shift])
    # Beyond its edge a piece goes on in the colours of its edge: no black line around it.
    colours = cv2.warpAffine(colours, warp, (side, side), borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.GaussianBlur(cv2.warpAffine(mask, warp, (side, side)), (0, 0), feather)
    return np.asarray(colours, np.uint8), np.asarray(alpha)


def _blend(
    canvas: Canvas, colours: NDArray[np.generic], alpha: Array, corner: tuple[int, int], number: int
) -> None:
    """Draw what lies on the canvas of a patch over it; its pixels show object ``number`` then."""
    left, top = corner
    height, width = canvas.owner.shape
    rows = slice(max(top, 0), max(min(top + alpha.shape[0], height), 0))
    cols = slice(max(left, 0), max(min(left + alpha.shape[1], width), 0))
    if rows.start >= rows.stop or cols.start >= cols.stop:
        return
    patch = slice(rows.start - top, rows.stop - top), slice(cols.start - left, cols.stop - left)
    under = canvas.image[rows, cols].astype(np.float32)
    weight = np.asarray(alpha[patch], np.float32)[..., None]
    over = np.asarray(colours[patch], np.float32)
    canvas.image[rows, cols] = under + (over - under) * weight
    covered: Mask = weight[..., 0] > 0.5
    canvas.owner[rows, cols][covered] = number
