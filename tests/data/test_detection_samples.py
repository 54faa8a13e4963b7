import itertools
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from heatpose.data.backgrounds import Backgrounds
from heatpose.data.bop import BopDataset
from heatpose.data.detection_samples import DetectionSampleConfig, DetectionSet, DetectionStream

SIZE = 128
# Nothing changes colours, so that these say which object is seen: 1 is red and 2 is green.
CLEAR = {"image_size": SIZE, "degraded": 0.0, "min_side": 4.0}
SCENE = {"mosaic": 0.0, "empty": 0.0, "collage": 0.0, "pasted": 0.0, "covered": 0.0}


class Black(Backgrounds):
    def draw(self, rng, height, width):
        return np.zeros((height, width, 3), np.uint8)


@pytest.fixture
def make(drawn_bop):
    def make_set(masks=True, ids=(1, 2), **config):
        datasets = [BopDataset(drawn_bop(masks=masks), "train")]
        return DetectionSet(datasets, ids, DetectionSampleConfig(**{**CLEAR, **config}), Black())

    return make_set


def draw(detection_set, count):
    return [detection_set(np.random.default_rng([4, number])) for number in range(count)]


def of_colour(image, label):
    """Where an image shows an object: its own channel is light, and the others dark."""
    others = np.delete(image, label, axis=2).max(axis=2)
    return (image[..., label] > 140) & (others < 25)


def inside_any(shape, boxes, grow):
    inside = np.zeros(shape, bool)
    for left, top, right, bottom in boxes:
        rows = slice(max(int(np.ceil(top - grow)), 0), int(np.floor(bottom + grow)) + 1)
        inside[rows, max(int(np.ceil(left - grow)), 0) : int(np.floor(right + grow)) + 1] = True
    return inside


@pytest.mark.parametrize(
    "config",
    [
        SCENE,
        {**SCENE, "collage": 1.0},
        {**SCENE, "pasted": 1.0},
        {**SCENE, "mosaic": 1.0},
        {**SCENE, "covered": 1.0},
        {},
    ],
    ids=["scene", "collage", "pasted", "mosaic", "covered", "default"],
)
def test_every_pixel_of_an_object_is_in_a_box_and_boxes_end_at_pixels(make, config):
    seen = 0
    for sample in draw(make(**config), 60):
        assert sample.image.shape == (SIZE, SIZE, 3)
        for label in (0, 1):
            shown, boxes = of_colour(sample.image, label), sample.boxes[sample.labels == label]
            assert not (shown & ~inside_any(shown.shape, boxes, grow=1)).any()
            for box in boxes:
                edge = inside_any(shown.shape, [box], 1) & ~inside_any(shown.shape, [box], -3)
                assert (shown & edge).any()
            seen += len(boxes)
    assert seen > 40


def test_boxes_are_in_the_picture_and_large_enough(make):
    for sample in draw(make(), 60):
        assert (sample.boxes >= -0.5).all() and (sample.boxes <= SIZE - 0.5).all()
        assert (sample.boxes[:, 2:] - sample.boxes[:, :2] >= 4).all()
        assert set(sample.labels.tolist()) <= {0, 1}


def test_sizes_are_those_of_the_configuration(make):
    """Objects come between 0.4 and 1.8 times the size that they have where a frame just fits."""
    detection_set = make(scale=(0.4, 1.8), **SCENE)
    whole = [
        max(seen.box[2] - seen.box[0], seen.box[3] - seen.box[1]) * SIZE / 160
        for frame in detection_set.frames
        for seen in frame.objects
    ]
    found = np.concatenate(
        [
            (sample.boxes[:, 2:] - sample.boxes[:, :2]).max(axis=1)
            for sample in draw(detection_set, 150)
        ]
    )
    assert 0.4 * max(whole) < found.max() < 1.8 * max(whole) + 1
    assert found.min() < 0.5 * max(whole)


def test_labels_are_positions_in_the_list_of_ids(make):
    for sample in draw(make(ids=[2], **SCENE), 20):
        assert (sample.labels == 0).all()
        shown = of_colour(sample.image, 1)  # green
        assert not (shown & ~inside_any(shown.shape, sample.boxes, grow=1)).any()


def test_some_samples_show_none_of_the_objects(make):
    samples = draw(make(**{**SCENE, "empty": 1.0}), 10)
    assert all(len(sample.boxes) == 0 and not sample.image.any() for sample in samples)
    assert samples[0].boxes.shape == (0, 4) and samples[0].labels.shape == (0,)


def test_objects_come_several_times_and_not_at_all(make):
    counts = [np.bincount(sample.labels, minlength=2) for sample in draw(make(), 60)]
    assert np.max(counts) > 1 and np.min(counts) == 0


def test_boxes_alone_are_enough_for_windows(make):
    detection_set = make(masks=False)
    assert not detection_set.pieces
    for sample in draw(detection_set, 40):
        for box, label in zip(sample.boxes, sample.labels, strict=True):
            assert (of_colour(sample.image, label) & inside_any((SIZE, SIZE), [box], 0)).any()


def test_a_mirrored_sample_has_mirrored_boxes(make):
    straight = make(**SCENE)
    mirrored = copy(straight)
    mirrored.config = replace(straight.config, flip=1.0)
    for one, other in zip(draw(straight, 10), draw(mirrored, 10), strict=True):
        np.testing.assert_array_equal(other.image, one.image[:, ::-1])
        np.testing.assert_allclose(other.boxes[:, [2, 0]], SIZE - 1 - one.boxes[:, [0, 2]])


def test_of_too_many_objects_the_largest_keep_their_labels(make):
    everything = make(collage=1.0, empty=0.0)
    crowd = copy(everything)
    crowd.config = replace(everything.config, max_objects=2)
    for whole, part in zip(draw(everything, 20), draw(crowd, 20), strict=True):
        assert len(part.boxes) == min(len(whole.boxes), 2)
        areas = np.sort((whole.boxes[:, 2:] - whole.boxes[:, :2]).prod(axis=1))
        kept = (part.boxes[:, 2:] - part.boxes[:, :2]).prod(axis=1)
        np.testing.assert_allclose(np.sort(kept), areas[-2:])


def test_nothing_is_pasted_over_objects_without_masks(drawn_bop):
    config = DetectionSampleConfig(**{**CLEAR, **SCENE, "pasted": 1.0, "scale": (1.0, 1.0)})
    masks, boxes = (
        DetectionSet([BopDataset(drawn_bop(str(one), masks=one), "train")], [1, 2], config, Black())
        for one in (True, False)
    )
    assert max(len(sample.boxes) for sample in draw(masks, 30)) > 2
    boxes.pieces = masks.pieces
    assert max(len(sample.boxes) for sample in draw(boxes, 30)) == 2


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one core
def test_the_same_number_gives_the_same_sample_in_any_process(make):
    stream = DetectionStream(make(degraded=1.0), 8, seed=2)
    alone = list(itertools.islice(stream, 9))
    assert len(alone) == 8
    loader = torch.utils.data.DataLoader(stream, batch_size=8, num_workers=2)
    together = next(iter(loader))
    for name in ("image", "boxes", "labels"):
        stacked = torch.stack([one[name] for one in alone])
        assert torch.equal(together[name].nan_to_num(-9), stacked.nan_to_num(-9))
    later = DetectionStream(stream.detection_set, 4, seed=2, first=4)
    assert torch.equal(later[1]["image"], alone[5]["image"])
    assert not torch.equal(alone[0]["image"], alone[1]["image"])
    other = DetectionStream(stream.detection_set, 8, seed=3)
    assert not torch.equal(other[0]["image"], alone[0]["image"])


def test_streams_pad_with_nan_and_minus_one(make):
    stream = DetectionStream(make(max_objects=9, **SCENE), 1, seed=1)
    sample, plain = stream[0], stream.detection_set(np.random.default_rng([1, 0]))
    n = len(plain.labels)
    assert sample["image"].dtype == torch.uint8 and sample["boxes"].dtype == torch.float32
    assert sample["boxes"].shape == (9, 4) and sample["labels"].dtype == torch.int64
    np.testing.assert_allclose(sample["boxes"][:n], plain.boxes, atol=1e-5)
    assert sample["boxes"][n:].isnan().all() and (sample["labels"][n:] == -1).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mosaic": 1.5}, r"mosaic is a share in \[0, 1\], got 1.5"),
        ({"scale": (1.0, 0.5)}, r"scale must be positive and rising, got \(1.0, 0.5\)"),
        ({"image_size": 0}, "image_size must be positive, got 0"),
    ],
)
def test_senseless_values_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        DetectionSampleConfig(**wrong)


@pytest.mark.real
def test_real_frames_without_masks_are_trained_on(real_data):
    config = DetectionSampleConfig(image_size=320)
    frames = DetectionSet([BopDataset(real_data / "lmo")], [1, 12], config, Backgrounds())
    samples = draw(frames, 20)
    assert len(frames.frames) == 67 and sum(len(sample.boxes) for sample in samples) > 15
