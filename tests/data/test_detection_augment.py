import numpy as np
import pytest

from heatpose.data.backgrounds import Backgrounds
from heatpose.data.detection_augment import Canvas, Limits, cover, draw_window, paste
from heatpose.data.detection_scenes import Piece, SeenObject, _shrunk
from heatpose.geometry.boxes import box_of_mask

ALL = Limits(visible=0.0, left=0.0, side=0.0)
RED = [250, 0, 0]


def scene(*boxes, size=(120, 160), masks=True):
    """A black image with red rectangles, whole px (left, top, right, bottom), and its objects."""
    image = np.zeros((*size, 3), np.uint8)
    objects = []
    for label, (left, top, right, bottom) in enumerate(boxes):
        mask = np.zeros(size, bool)
        mask[top:bottom, left:right] = True
        image[mask] = RED
        box = (left - 0.5, top - 0.5, right - 0.5, bottom - 0.5)
        objects.append(SeenObject(label, box, 1.0, _shrunk(mask) if masks else None))
    return image, objects


def red_box(image):
    return box_of_mask((image[..., 0] > 125) & (image[..., 1] < 60))


@pytest.mark.parametrize("scale", [0.4, 1.0, 1.7])
@pytest.mark.parametrize("masks", [True, False], ids=["masks", "boxes only"])
def test_boxes_move_with_the_picture(rng, scale, masks):
    image, objects = scene((40, 30, 90, 60), masks=masks)
    for _ in range(20):
        canvas = Canvas(90, 100)
        corner = tuple(rng.integers(-60, 60, 2).tolist())
        draw_window(canvas, image, objects, scale, corner)
        labels = canvas.labels(ALL)
        seen = red_box(canvas.image)
        assert bool(labels) == (seen is not None)
        if labels:
            np.testing.assert_allclose(labels[0][1], seen, atol=1.01)


def test_a_box_that_is_seen_whole_is_known_to_a_part_of_a_pixel():
    image, objects = scene((41, 31, 94, 65))
    canvas = Canvas(64, 80)
    draw_window(canvas, image, objects, 0.5, (0, 0))
    # Edges at 41, 31, 94, 65 counted from the image's corner lie at half of that.
    np.testing.assert_allclose(canvas.labels(ALL)[0][1], [20.0, 15.0, 46.5, 32.0], atol=1e-9)


def test_parts_of_a_canvas_are_drawn_in_place():
    image, objects = scene((0, 0, 20, 20))
    canvas = Canvas(100, 100)
    draw_window(canvas.part(50, 30, 50, 70), image, objects, 1.0, (-5, -8))
    assert canvas.labels(ALL) == [(0, (54.5, 37.5, 74.5, 57.5))]
    assert red_box(canvas.image) == (54.5, 37.5, 74.5, 57.5)
    assert (canvas.image[:, :50] == 114).all() and (canvas.image[:30] == 114).all()


def test_what_covers_an_object_takes_from_its_box():
    image, objects = scene((20, 20, 60, 40))
    canvas = Canvas(120, 160)
    draw_window(canvas, image, objects, 1.0, (0, 0))
    other, nothing = scene(size=(120, 30))
    draw_window(canvas.part(0, 0, 30, 120), other, nothing, 1.0, (0, 0))
    assert canvas.labels(ALL) == [(0, (29.5, 19.5, 59.5, 39.5))]


def test_slivers_lose_label_and_colour():
    image, objects = scene((20, 20, 120, 40), (20, 60, 120, 80))
    canvas = Canvas(120, 30)
    draw_window(canvas, image, objects[:1], 1.0, (110, 0))  # a tenth of the upper one is seen
    assert len(canvas.labels(Limits(visible=0.0, left=0.09, side=0.0))) == 1
    assert canvas.labels(Limits(visible=0.0, left=0.11, side=0.0)) == []
    assert (canvas.image[20:40, :10] == 114).all()
    assert (canvas.image[60:80, :10] == RED).all()  # nobody's object is left alone


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (Limits(visible=0.2, left=0.2, side=6), False),  # 0.3 of the silhouette, half of it cut
        (Limits(visible=0.14, left=0.2, side=6), True),
        (Limits(visible=0.14, left=0.51, side=6), False),
        (Limits(visible=0.14, left=0.2, side=21), False),
    ],
)
def test_labels_need_enough_of_an_object(limits, kept):
    image, (seen,) = scene((60, 20, 120, 40))
    hidden = SeenObject(seen.label, seen.box, 0.3, seen.mask)
    canvas = Canvas(120, 160)
    draw_window(canvas, image, [hidden], 1.0, (90, 0))
    assert bool(canvas.labels(limits)) == kept
    assert (red_box(canvas.image) is not None) == kept


def test_without_a_mask_what_has_no_label_stays():
    image, objects = scene((60, 20, 120, 40), masks=False)
    canvas = Canvas(120, 160)
    draw_window(canvas, image, objects, 1.0, (115, 0))
    assert canvas.labels(Limits(0.0, 0.2, 0.0)) == [] and red_box(canvas.image) is not None


def test_pasted_objects_are_where_their_boxes_are(rng):
    mask = np.zeros((40, 30), bool)
    mask[:, :12] = mask[30:] = True  # an L
    piece = Piece(np.full((40, 30, 3), RED, np.uint8), mask, 160)
    boxes = []
    for _ in range(60):
        canvas = Canvas(100, 120)
        canvas.image[:] = 0
        paste(rng, canvas, piece, 5, rng.uniform(0.5, 1.5), rng.uniform(-3, 3))
        ((label, box),) = canvas.labels(ALL)
        assert label == 5
        np.testing.assert_allclose(box, box_of_mask(canvas.image[..., 0] > 100), atol=2)
        boxes.append(box)
    edges = np.array(boxes)
    assert (edges >= -0.5).all() and (edges[:, 2] <= 119.5).all() and (edges[:, 3] <= 99.5).all()
    assert (edges[:, 0] == -0.5).any() and (edges[:, 3] == 99.5).any()  # also cut off


def test_a_quarter_turn_swaps_the_sides(rng):
    piece = Piece(np.full((40, 20, 3), RED, np.uint8), np.ones((40, 20), bool), 160)
    sides = []
    for _ in range(30):
        canvas = Canvas(200, 200)
        paste(rng, canvas, piece, 0, 1.0, np.pi / 2)
        (_, (left, top, right, bottom)) = canvas.labels(ALL)[0]
        sides.append((right - left, bottom - top))
    np.testing.assert_allclose(np.max(sides, axis=0), [40, 20], atol=1)  # to whole pixels


def test_covers_take_pixels_away_and_land_on_objects(rng):
    image, objects = scene((60, 40, 100, 80))
    lost = []
    for _ in range(40):
        canvas = Canvas(120, 160)
        draw_window(canvas, image, objects, 1.0, (0, 0))
        cover(rng, canvas, Backgrounds(), 30)
        lost.append((canvas.owner >= 0).sum() < 1600)
    assert np.mean(lost) > 0.5
