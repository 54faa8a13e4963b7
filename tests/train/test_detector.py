import json

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from heatpose.data.detection_samples import DetectionSample, DetectionSampleConfig, DetectionStream
from heatpose.data.images import read_image
from heatpose.errors import CheckpointError
from heatpose.model.detector_weights import load_detector
from heatpose.model.yolov10 import YoloConfig, YoloV10
from heatpose.train import loop
from heatpose.train.config import DetectorConfig
from heatpose.train.detector import DetectorTraining
from heatpose.train.loop import train_detector

# Lightning and tensorboard are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
COLOURS = [(220, 40, 40), (40, 60, 230)]


class Rectangles:
    """Draws up to three rectangles on grey noise; the colour says which object it is."""

    object_ids = (3, 8)
    frames = ()

    def __init__(self, size):
        self.config = DetectionSampleConfig(image_size=size, max_objects=3)

    def __call__(self, rng):
        size = self.config.image_size
        image = rng.integers(90, 130, (size, size, 3)).astype(np.uint8)
        boxes, labels = [], []
        for column in rng.permutation(3)[: rng.integers(4)]:
            width, height = rng.integers(size // 6, size // 3, 2)
            left, top = column * size // 3, rng.integers(size - height)
            label = int(rng.integers(2))
            image[top : top + height, left : left + width] = COLOURS[label]
            boxes.append(np.array([left, top, left + width, top + height]) - 0.5)
            labels.append(label)
        return DetectionSample(image, np.reshape(boxes, (-1, 4)), np.array(labels, int))


@pytest.fixture(autouse=True)
def few_unseen_samples(monkeypatch):
    monkeypatch.setattr(loop, "UNSEEN", 20)


def config(**others):
    values = {
        "samples": 32,
        "samples_per_epoch": 16,
        "batch_size": 8,
        "workers": 0,
        "bf16": False,
        "image_size": 64,
        "sample": DetectionSampleConfig(image_size=64),
    }
    return DetectorConfig(**{**values, **others})


def small(seed=0):
    torch.manual_seed(seed)
    return YoloV10(YoloConfig(2, "n"))


def lines(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_detector_learns_to_find_rectangles(tmp_path):
    settings = config(
        samples=1024, samples_per_epoch=512, batch_size=8, learning_rate=2e-3, average=0.9
    )
    train_detector(tmp_path / "run", Rectangles(64), small(), settings)
    first, last = lines(tmp_path / "run")
    assert first["unseen_ap50"] < last["unseen_ap50"]
    assert last["unseen_ap50"] > 0.6 and last["train_overlap"] > 0.75


def test_a_run_leaves_all_that_is_needed_to_use_it(tmp_path):
    run = tmp_path / "run"
    train_detector(run, Rectangles(64), small(), config(bf16=True), names={3: "red"})
    network, notes = load_detector(run / "network.safetensors")
    assert network.config == YoloConfig(2, "n")
    assert notes["object_ids"] == [3, 8] and notes["samples"] == 32
    assert notes["train"]["image_size"] == 64 and notes["datasets"] == []
    objects = json.loads((run / "objects.json").read_text())["objects"]
    assert objects == [{"id": 3, "name": "red"}, {"id": 8, "name": ""}]
    assert json.loads((run / "train.json").read_text())["network"]["size"] == "n"
    assert [line["epoch"] for line in lines(run)] == [1, 2]
    assert read_image(run / "contact_sheets" / "epoch_0002.png").shape == (640, 1280, 3)


def test_the_trunk_of_a_keypoint_network_stays_as_it_was(tmp_path):
    network = YoloV10(YoloConfig(2, "n", "resnet18"))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    train_detector(tmp_path / "run", Rectangles(64), network, config())
    after, _ = load_detector(tmp_path / "run" / "network.safetensors")
    for name, tensor in after.state_dict().items():
        if name.startswith("backbone.trunk."):
            assert torch.equal(tensor, before[name]), name
        elif name.endswith("conv.weight"):
            assert not torch.equal(tensor, before[name]), name


@pytest.mark.slow
def test_a_run_that_goes_on_ends_as_one_that_was_not_interrupted(tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_detector(whole, Rectangles(64), small(), config())

    class Interrupted(Exception):
        pass

    def stop(self, trainer, module):
        if trainer.current_epoch == 1:
            raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(loop.EpochEnd, "on_train_epoch_start", stop)
        with pytest.raises(Interrupted):
            train_detector(parts, Rectangles(64), small(), config())
    train_detector(parts, Rectangles(64), small(5), config(), resume=True)
    first, second = (load_detector(run / "network.safetensors")[0] for run in (whole, parts))
    for name, value in first.state_dict().items():
        torch.testing.assert_close(value, second.state_dict()[name], atol=1e-4, rtol=1e-3)
    assert [line["epoch"] for line in lines(parts)] == [1, 2]


def test_a_run_of_another_detector_is_not_gone_on_with(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(CheckpointError, match="nothing to resume"):
        train_detector(run, Rectangles(64), small(), config(), resume=True)
    train_detector(run, Rectangles(64), small(), config(samples=16))
    with pytest.raises(CheckpointError, match="holds a run already"):
        train_detector(run, Rectangles(64), small(), config())
    other = YoloV10(YoloConfig(3, "n"))
    with pytest.raises(CheckpointError, match="resume with the options that the run began with"):
        train_detector(run, Rectangles(64), other, config(), resume=True)


class Oracle(torch.nn.Module):
    """In place of the averaged network: the maps of one that finds the truth."""

    def __init__(self, batch):
        super().__init__()
        from heatpose.model.yolov10 import N_BINS, STRIDES

        self.maps = []
        for stride in STRIDES:
            size = 64 // stride
            level = torch.zeros(len(batch["image"]), 4 * N_BINS + 2, size, size)
            level[:, 4 * N_BINS :] = -12
            if stride == 8:
                self.fill(level, batch)
            self.maps.append(level)

    def fill(self, level, batch):
        bins = torch.arange(16)
        for i, (boxes, labels) in enumerate(zip(batch["boxes"], batch["labels"], strict=True)):
            for box, label in zip(boxes[labels >= 0] + 0.5, labels[labels >= 0], strict=True):
                x, y = ((box[:2] + box[2:]) / 16).int()
                centre = torch.tensor([x, y]) * 8 + 4
                sides = torch.cat([centre - box[:2], box[2:] - centre]) / 8
                peaks = (1 - (sides[:, None] - bins).abs()).clamp_min(0).add(1e-9).log()
                level[i, :64, y, x], level[i, 64 + label, y, x] = peaks.flatten(), 12

    def forward(self, images):
        return {"one2many": self.maps, "one2one": self.maps}


def test_a_network_that_finds_the_truth_is_measured_as_perfect():
    stream = DetectionStream(Rectangles(64), 12, seed=3)
    batch = default_collate([stream[i] for i in range(12)])
    training = DetectorTraining(small(), [3, 8], config())
    training.average = Oracle(batch)
    seen = training.examine([batch])
    assert seen.measures["unseen_ap"] == pytest.approx(1)
    assert "mAP50 1.000" in seen.summary


def test_statistics_do_not_remember_where_they_started():
    training = DetectorTraining(small(), [3, 8], config())
    norm = training.network.backbone.stem.bn

    class Clock:
        global_step = 0

    training._trainer = Clock()
    images = torch.rand(4, 3, 64, 64)
    training.on_train_batch_start({}, 0)
    training.network(images)
    before = training.network.backbone.stem.conv(images)
    torch.testing.assert_close(norm.running_mean, before.mean(dim=(0, 2, 3)))
    Clock.global_step = 10_000
    training.on_train_batch_start({}, 0)
    assert norm.momentum == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 100}, "image_size must be divisible by 32, got 100"),
        ({"image_size": 96}, "samples must be 96 px, got 64 px"),
        ({"batch_size": 0}, "batch_size must be positive, got 0"),
    ],
)
def test_senseless_values_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        config(**wrong)
