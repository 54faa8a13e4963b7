import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from heatpose.errors import DataError, MissingExtraError
from heatpose.geometry.camera import Camera
from heatpose.runtime.box_predictor import open_box_predictor
from heatpose.runtime.detector import GREY, ObjectDetector, fit_image
from heatpose.types import Observation

BACKENDS = ["openvino", "onnxruntime"]


def onnx_file(nodes, size=("h", "w"), output=("n", 6), inputs=1, constants=()):
    """An ONNX network from an image `x` to `boxes`."""
    images = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, *size])
        for name in ("x", "y")[:inputs]
    ]
    boxes = helper.make_tensor_value_info("boxes", TensorProto.FLOAT, list(output))
    stored = [onnx.numpy_helper.from_array(values, name) for name, values in constants]
    graph = helper.make_graph(nodes, "detector", images, [boxes], initializer=stored)
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()


def constant_detector(rows, batched=False, **changes):
    """A network that gives the same rows, (n, 6), whatever it is shown."""
    rows = np.asarray(rows, np.float32)
    rows = rows[None] if batched else rows
    zero = np.zeros(1, np.float32)
    seen = ["x", "y"][: changes.get("inputs", 1)]
    nodes = [
        helper.make_node("Sum", seen, ["sum"]),
        helper.make_node("ReduceMax", ["sum"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
        helper.make_node("Add", ["rows", "nothing"], ["boxes"]),
    ]
    changes = {"output": rows.shape, **changes}
    return onnx_file(nodes, constants=[("rows", rows), ("zero", zero)], **changes)


def bright_detector(**changes):
    """A network that puts a box around the pixels whose red is over 0.9: ends of their indices."""
    nodes = [
        helper.make_node("Gather", ["x", "red"], ["channel"], axis=1),  # (1, h, w)
        helper.make_node("Greater", ["channel", "limit"], ["bright"]),
        helper.make_node("NonZero", ["bright"], ["places"]),  # (3, n): 0, row, col
        helper.make_node("Gather", ["places", "order"], ["xy"], axis=0),  # (2, n): col, row
        helper.make_node("Cast", ["xy"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMin", ["pixels", "along"], ["corner"], keepdims=0),
        helper.make_node("ReduceMax", ["pixels", "along"], ["last"], keepdims=0),
        helper.make_node("Add", ["last", "one"], ["opposite"]),
        helper.make_node("Concat", ["corner", "opposite", "rest"], ["row"], axis=0),
        helper.make_node("Unsqueeze", ["row", "red_axis"], ["boxes"]),
    ]
    constants = [
        ("red", np.array(0)),
        ("limit", np.array(0.9, np.float32)),
        ("order", np.array([2, 1])),
        ("along", np.array([1])),
        ("one", np.array(1, np.float32)),
        ("rest", np.array([0.75, 1.0], np.float32)),
        ("red_axis", np.array([0])),
    ]
    return onnx_file(nodes, constants=constants, output=(1, 6), **changes)


def observation(height=48, width=64, box=None):
    """A dark picture with a bright box, given by the indices of its first and its end pixels."""
    image = np.zeros((height, width, 3), np.uint8)
    if box:
        left, top, right, bottom = box
        image[top:bottom, left:right, 0] = 255
    return Observation(image, Camera(60.0, 60.0, width / 2, height / 2, width, height))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("image_size", [32, 64, 128, 256])
def test_a_box_lies_on_the_edges_of_what_is_seen(backend, image_size):
    detector = ObjectDetector(bright_detector(), [3, 8], image_sizes=[image_size], backend=backend)
    (found,) = detector(observation(48, 64, (12, 20, 40, 32)))
    assert (found.object_id, found.score) == (8, 0.75)
    # Pixel centres lie at whole numbers. What is enlarged has blurred edges, alike on all sides.
    off = np.array(found.box) - (11.5, 19.5, 39.5, 31.5)
    np.testing.assert_allclose(off[:2], -off[2:], atol=1e-5)
    assert np.abs(off).max() <= (0.5 if image_size > 64 else 1e-5)


def test_what_several_sizes_show_is_joined():
    seen = observation(48, 64, (12, 20, 40, 32))
    detector = ObjectDetector(bright_detector(), [3, 8], image_sizes=[32, 64])
    (found,) = detector(seen)
    assert (found.object_id, found.score) == (8, 0.75)
    np.testing.assert_allclose(found.box, (11.5, 19.5, 39.5, 31.5), atol=1e-4)


def test_what_one_of_two_sizes_shows_must_be_twice_as_sure():
    """Boxes that stand still in the network's picture move in the one that was taken."""
    network = constant_detector([[8, 8, 24, 24, 0.7, 0], [0, 0, 7, 7, 0.5, 0]])
    both = {"image_sizes": [32, 64], "threshold": 0.3}
    found = ObjectDetector(network, [1], **both)(observation(64, 64))
    assert [(one.box[0], one.score) for one in found] == [
        (15.5, pytest.approx(0.35)),
        (7.5, pytest.approx(0.35)),
    ]


@pytest.mark.parametrize("image_sizes", [[64], [32, 64]])
def test_what_a_mirror_shows_too_is_put_back_and_joined(image_sizes):
    seen = observation(48, 64, (4, 20, 24, 32))
    detector = ObjectDetector(bright_detector(), [3, 8], image_sizes=image_sizes, mirrored=True)
    (found,) = detector(seen)
    assert (found.object_id, found.score) == (8, 0.75)
    np.testing.assert_allclose(found.box, (3.5, 19.5, 23.5, 31.5), atol=1e-4)


def test_what_stands_still_in_a_mirror_is_seen_on_the_other_side_by_half():
    network = constant_detector([[8, 4, 24, 20, 0.7, 0]])
    found = ObjectDetector(network, [1], image_sizes=[64], mirrored=True)(observation(48, 64))
    assert [(one.box, one.score) for one in found] == [
        ((7.5, 3.5, 23.5, 19.5), pytest.approx(0.35)),
        ((39.5, 3.5, 55.5, 19.5), pytest.approx(0.35)),
    ]


class SurerWhereItIsLarge:
    """In place of a network: sees the whole picture, at 32 px with a score of 0.2, at 64 of 0.5."""

    input_size = (None, None)

    def __call__(self, image):
        side = image.shape[1]
        return np.array([[0, 0, side, side, 0.2 if side == 32 else 0.5, 0]], np.float32)


@pytest.mark.parametrize(("threshold", "count"), [(0.34, 1), (0.36, 0)])
def test_what_one_size_is_less_sure_of_than_the_threshold_counts_too(monkeypatch, threshold, count):
    monkeypatch.setattr(
        "heatpose.runtime.detector.open_box_predictor", lambda *_, **__: SurerWhereItIsLarge()
    )
    detector = ObjectDetector(b"", [1], image_sizes=[32, 64], threshold=threshold)
    assert len(detector(observation(64, 64))) == count


@pytest.mark.parametrize("backend", BACKENDS)
def test_pictures_of_changing_sizes_are_scaled_each_in_its_way(backend):
    detector = ObjectDetector(bright_detector(), [1, 2], image_sizes=[64], backend=backend)
    for height, width in [(96, 192), (192, 96), (192, 192), (96, 192)]:
        (found,) = detector(observation(height, width, (30, 36, 60, 75)))
        np.testing.assert_allclose(found.box, (29.5, 35.5, 59.5, 74.5), atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_network_gets_the_sides_it_insists_on(backend):
    detector = ObjectDetector(bright_detector(size=(96, 80)), [1, 2], backend=backend)
    (found,) = detector(observation(48, 32, (10, 20, 30, 40)))
    # Twice as large: the blurred edge is a half of a pixel.
    np.testing.assert_allclose(found.box, (9.5, 19.5, 29.5, 39.5), atol=0.51)


def test_each_axis_is_scaled_as_its_whole_pixels_have_it():
    network = constant_detector([[10, 16, 20, 32, 0.5, 0]])
    detector = ObjectDetector(network, [1], image_sizes=[32])
    (found,) = detector(observation(100, 64))  # scaled to 32 x 20
    np.testing.assert_allclose(found.box, (31.5, 49.5, 63.5, 99.5), atol=1e-4)


def test_more_sizes_than_are_kept_ready_do_no_harm():
    detector = ObjectDetector(bright_detector(), [1, 2], image_sizes=[320], threads=1)
    for repeat in range(2):
        for width in range(32, 352, 32):
            image = observation(320, width, (5 + repeat, 7, 20, 30))
            assert detector(image)[0].box == (4.5 + repeat, 6.5, 19.5, 29.5)


@pytest.mark.parametrize(
    ("size", "fixed", "longest", "fitted", "scales"),
    [
        ((480, 640), (None, None), 640, (480, 640), (1, 1)),
        ((480, 640), (None, None), 320, (256, 320), (0.5, 0.5)),
        ((1080, 1920), (None, None), 640, (384, 640), (1 / 3, 1 / 3)),
        ((640, 480), (None, None), 600, (608, 480), (450 / 480, 600 / 640)),
        ((480, 640), (640, 640), 320, (640, 640), (1, 1)),
        ((1000, 10), (None, None), 64, (64, 32), (0.1, 0.064)),
    ],
)
def test_images_are_scaled_to_the_longer_side_and_filled_to_32(
    size, fixed, longest, fitted, scales
):
    image = np.full((*size, 3), 200, np.uint8)
    found, found_scales = fit_image(image, fixed, longest)
    assert found.shape == (*fitted, 3)
    np.testing.assert_allclose(found_scales, scales)
    height, width = round(size[0] * scales[1]), round(size[1] * scales[0])
    assert (found[:height, :width] == 200).all()
    assert (found[height:] == GREY).all() and (found[:, width:] == GREY).all()


ROWS = [
    [0, 0, 10, 10, 0.3, 0],
    [10, 10, 30, 20, 0.9, 1],
    [-20, -20, 90, 90, 0.8, 0],
    [5, 5, 10, 10, 0.29, 1],
    [70, 5, 80, 10, 0.7, 1],  # wholly outside
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batched", [False, True])
def test_the_best_come_first_inside_the_picture_and_over_the_threshold(backend, batched):
    network = constant_detector(ROWS, batched)
    detector = ObjectDetector(network, [4, 6], image_sizes=[64], threshold=0.3, backend=backend)
    found = [(one.object_id, one.box, round(one.score, 5)) for one in detector(observation())]
    assert found == [
        (6, (9.5, 9.5, 29.5, 19.5), 0.9),
        (4, (-0.5, -0.5, 63.5, 47.5), 0.8),
        (4, (-0.5, -0.5, 9.5, 9.5), 0.3),
    ]


def point_detector():
    """A network that gives a box of 1 px for each pixel whose red is over 0.9: none, or many."""
    nodes = [
        helper.make_node("Gather", ["x", "red"], ["channel"], axis=1),  # (1, h, w)
        helper.make_node("Greater", ["channel", "limit"], ["bright"]),
        helper.make_node("NonZero", ["bright"], ["places"]),  # (3, n): 0, row, col
        helper.make_node("Gather", ["places", "order"], ["columns"], axis=0),  # (6, n)
        helper.make_node("Cast", ["columns"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["pixels", "more"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["boxes"]),
    ]
    constants = [
        ("red", np.array(0)),
        ("limit", np.array(0.9, np.float32)),
        ("order", np.array([2, 1, 2, 1, 0, 0])),
        ("more", np.array([[0], [0], [1], [1], [0.5], [0]], np.float32)),
    ]
    return onnx_file(nodes, constants=constants)


@pytest.mark.parametrize("backend", BACKENDS)
def test_there_may_be_many_objects_or_none(backend):
    detector = ObjectDetector(point_detector(), [7], image_sizes=[64], backend=backend)
    assert detector(observation()) == []
    found = detector(observation(box=(3, 2, 5, 4)))
    assert {one.box[:2] for one in found} == {(2.5, 1.5), (3.5, 1.5), (2.5, 2.5), (3.5, 2.5)}
    assert detector(observation()) == []


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0, 0, 9, 9, 0.5, 2], r"class 2, but 2 object ids are given: \[4, 6\]"),
        ([0, 0, 9, 9, 0.5, -1], "class -1"),
        ([0, 0, 9, 9, 0.5, 0.5], r"class 0\.5"),
        ([0, 0, 9, 9, 7.5, 0], r"scores of 7\.5 to 7\.5"),
        ([0, np.nan, 9, 9, 0.5, 0], "all finite"),
    ],
)
def test_rows_that_mean_nothing_are_refused(backend, row, message):
    detector = ObjectDetector(constant_detector([row]), [4, 6], backend=backend)
    with pytest.raises(DataError, match=message):
        detector(observation())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: constant_detector(np.zeros((9, 5))), r"this gives \(9, 5\)"),
        (lambda: constant_detector(np.zeros((2, 9, 6))), r"this gives \(2, 9, 6\)"),
        (lambda: constant_detector(np.zeros((1, 84, 80))), r"this gives \(1, 84, 80\)"),
        (
            lambda: constant_detector(ROWS, inputs=2),
            r"this takes \(1, 3, \?, \?\), \(1, 3, \?, \?\)",
        ),
        (lambda: b"no network", "cannot be read as ONNX"),
    ],
    ids=["five columns", "two images", "raw maps", "two inputs", "no network"],
)
def test_what_is_no_detector_is_refused_by_its_shape(backend, network, message):
    with pytest.raises(DataError, match=message):
        open_box_predictor(network(), backend)


def test_options_that_make_no_sense_are_refused():
    network = constant_detector(ROWS)
    with pytest.raises(ValueError, match="image_sizes must be at least 32, got \\[16\\]"):
        ObjectDetector(network, [1], image_sizes=[16])
    with pytest.raises(ValueError, match=r"threshold must lie in \[0, 1\], got 25"):
        ObjectDetector(network, [1], threshold=25)
    with pytest.raises(ValueError, match="openvino or onnxruntime, got 'tensorrt'"):
        ObjectDetector(network, [1], backend="tensorrt")
    with pytest.raises(ValueError, match="not in bf16"):
        ObjectDetector(network, [1], backend="onnxruntime", precision="bf16")


def test_a_missing_runtime_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r'pip install "heatpose\[onnx\]"'):
        open_box_predictor(b"", "onnxruntime")
