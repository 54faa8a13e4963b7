import json
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from heatpose.data.batch_samples import BatchMaker, BatchStream, DrawingConfig
from heatpose.data.depth_samples import DepthConfig
from heatpose.data.images import read_image
from heatpose.data.samples import SampleMaker
from heatpose.errors import CheckpointError, DataError, LabelError
from heatpose.model.network import NetworkConfig
from heatpose.model.weights import load_network
from heatpose.objects.catalogue import object_from_record
from heatpose.train import ahead, loop, training
from heatpose.train.callbacks import ProgressBar
from heatpose.train.config import TrainConfig
from heatpose.train.loop import EpochNumbers, train_keypoints
from heatpose.train.losses import LossConfig
from heatpose.train.module import KeypointTraining
from heatpose.train.start import make_network

ALL_TERMS = LossConfig(pose=0.1, monte_carlo=0.01)
NETWORK = NetworkConfig(n_objects=2, n_keypoints=8, decoder_channels=16, crop_size=64)

# Lightning and tensorboard are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def config(maker, **others):
    values = {
        "samples": 32,
        "samples_per_epoch": 16,
        "batch_size": 8,
        "workers": 0,
        "bf16": False,
        "sample": maker.config,
        "loss": LossConfig(pose=0.1),
    }
    return TrainConfig(**{**values, **others})


@pytest.fixture(autouse=True)
def few_unseen_samples(monkeypatch):
    monkeypatch.setattr(loop, "UNSEEN", 12)


def lines(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_no_sample_comes_twice():
    numbers = EpochNumbers(4)
    seen = list(numbers)
    for epoch in (1, 2):
        numbers.set_epoch(epoch)
        seen += list(numbers)
    assert seen == list(range(12)) and len(numbers) == 4


def test_processes_that_train_together_share_the_samples(monkeypatch):
    numbers, seen = EpochNumbers(12), []
    numbers.set_epoch(1)
    for process in range(3):
        monkeypatch.setattr(loop, "_process", lambda process=process: (process, 3))
        assert len(numbers) == 4 == len(list(numbers))
        seen += list(numbers)
    assert sorted(seen) == list(range(12, 24))


def test_a_batch_must_be_one_that_devices_can_share(maker):
    with pytest.raises(ValueError, match="divisible by devices, got 8 and 3"):
        config(maker, devices=3)


def test_a_run_leaves_all_that_is_needed_to_use_it(tmp_path, maker):
    run = tmp_path / "run"
    train_keypoints(run, maker, make_network(NETWORK, 0), config(maker, loss=ALL_TERMS))

    network, notes = load_network(run / "network.safetensors")
    assert network.config == NETWORK
    assert notes["samples"] == 32 and notes["train"]["batch_size"] == 8
    stored = json.loads((run / "objects.json").read_text())
    objects = [object_from_record(record, run) for record in stored["objects"]]
    assert [o.object_id for o in objects] == [3, 7]
    np.testing.assert_allclose(objects[0].keypoints, maker.objects[0].keypoints)
    stored = json.loads((run / "train.json").read_text())["config"]
    assert stored["samples"] == 32 and stored["loss"]["monte_carlo"] == 0.01
    assert [line["epoch"] for line in lines(run)] == [1, 2]
    assert {"train_pose", "train_monte_carlo", "train_left_out"} <= lines(run)[0].keys()
    assert read_image(run / "contact_sheets" / "epoch_0002.png").shape == (128, 384, 3)
    assert (run / "csv" / "version_0" / "metrics.csv").exists()
    assert list((run / "tensorboard").glob("events*"))
    assert not list(run.glob(".*"))  # no temporary file is left


@pytest.mark.slow
def test_a_run_that_goes_on_ends_as_one_that_was_not_interrupted(tmp_path, maker, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_keypoints(whole, maker, make_network(NETWORK, 0), config(maker, loss=ALL_TERMS))

    class Interrupted(Exception):
        pass

    def stop(self, trainer, module):
        if trainer.current_epoch == 1:
            raise Interrupted

    monkeypatch.setattr(loop.EpochEnd, "on_train_epoch_start", stop)
    with pytest.raises(Interrupted):
        train_keypoints(parts, maker, make_network(NETWORK, 0), config(maker, loss=ALL_TERMS))
    assert [line["epoch"] for line in lines(parts)] == [1]
    monkeypatch.undo()
    monkeypatch.setattr(loop, "UNSEEN", 12)
    train_keypoints(
        parts, maker, make_network(NETWORK, 5), config(maker, loss=ALL_TERMS), resume=True
    )

    first, second = (load_network(run / "network.safetensors")[0] for run in (whole, parts))
    for name, value in first.state_dict().items():
        assert torch.allclose(value.float(), second.state_dict()[name].float(), atol=1e-5), name
    assert [line["epoch"] for line in lines(parts)] == [1, 2]


class NotedBatches(BatchMaker):
    """Notes what each batch is drawn with."""

    def __init__(self, maker):
        drawing, device = DrawingConfig(points=2_000), torch.device("cpu")
        super().__init__(maker.objects, maker.backgrounds, maker.config, drawing, device)
        self.seeds = []

    def __call__(self, generator, b):
        self.seeds.append(generator.initial_seed())
        return super().__call__(generator, b)


@pytest.mark.slow
@pytest.mark.parametrize("echo", [1, 2])
def test_batches_are_drawn_once_on_the_device_in_a_run_that_goes_on_too(
    tmp_path, maker, monkeypatch, echo
):
    monkeypatch.setattr(loop, "check_labels", lambda maker, seed: 0.0)
    batches, run = NotedBatches(maker), tmp_path / "run"
    assert len(list(BatchStream(batches, 1, 6, seed=3))) == 6
    expected = batches.seeds
    for samples, resume, first, stop in [(16, False, 0, 2), (48, True, 2, 6)]:
        batches.seeds = []
        chosen = config(maker, samples=samples, seed=3, echo=echo)
        network = make_network(NETWORK, 0)
        train_keypoints(run, maker, network, chosen, resume, batches=batches)
        assert sorted(batches.seeds) == sorted(expected[first // echo : stop // echo])
    assert not [t for t in threading.enumerate() if t.name.startswith(ahead.NAME)]
    assert [line["samples"] for line in lines(run)] == [16, 32, 48]


def test_a_run_is_not_lost_by_starting_another_in_its_folder(tmp_path, maker):
    run = tmp_path / "run"
    network = make_network(NETWORK, 0)
    with pytest.raises(CheckpointError, match="nothing to resume: no checkpoint at"):
        train_keypoints(run, maker, network, config(maker), resume=True)
    run.mkdir()
    (run / "last.ckpt").write_bytes(b"a run")
    with pytest.raises(CheckpointError, match="holds a run already"):
        train_keypoints(run, maker, network, config(maker))
    assert (run / "last.ckpt").read_bytes() == b"a run"


def test_what_cannot_be_resumed_is_refused_before_anything_is_touched(tmp_path, maker):
    run = tmp_path / "run"
    run.mkdir()
    (run / "last.ckpt").write_bytes(b"half a checkpoint")
    network = make_network(NETWORK, 0)
    with pytest.raises(CheckpointError, match=r"last\.ckpt cannot be read"):
        train_keypoints(run, maker, network, config(maker), resume=True)

    other = make_network(NetworkConfig(2, n_keypoints=9, decoder_channels=16, crop_size=64), 0)
    stored = {f"network.{name}": tensor for name, tensor in other.state_dict().items()}
    torch.save({"state_dict": stored}, run / "last.ckpt")
    message = r"has head\.weight of shape \(2, 9, 16\), this run \(2, 8, 16\)"
    with pytest.raises(CheckpointError, match=message):
        train_keypoints(run, maker, network, config(maker), resume=True)
    assert [path.name for path in run.iterdir()] == ["last.ckpt"]


def test_wrong_labels_stop_it_before_the_first_step(tmp_path, maker, monkeypatch):
    def wrong(*args, **kwargs):
        raise LabelError("labels lie 3.00 px from the rendered surface")

    monkeypatch.setattr(loop, "check_labels", wrong)
    with pytest.raises(LabelError):
        train_keypoints(tmp_path / "run", maker, make_network(NETWORK, 0), config(maker))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path, maker, monkeypatch):
    run = tmp_path / "run"
    train_keypoints(run, maker, make_network(NETWORK, 0), config(maker, samples=16))
    before = (run / "last.ckpt").read_bytes()

    def full(self, path):
        path.write_bytes(b"half a check")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(loop.lightning.Trainer, "save_checkpoint", full)
    with pytest.raises(DataError, match=r"cannot write .*last\.ckpt: No space left"):
        train_keypoints(run, maker, make_network(NETWORK, 0), config(maker), resume=True)
    assert (run / "last.ckpt").read_bytes() == before


def stored(run):
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    [optimizer] = checkpoint["optimizer_states"]
    return checkpoint, optimizer["param_groups"][0]["lr"]


class Clock:
    """Each step takes ten seconds."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(training.time, "monotonic", lambda: self.now)
        begin = training.Training.on_train_batch_start

        def take_time(module, batch, index):
            begin(module, batch, index)
            self.now += 10

        monkeypatch.setattr(training.Training, "on_train_batch_start", take_time)


@pytest.mark.slow
def test_a_run_ends_with_its_schedule_when_the_time_is_up(tmp_path, maker, monkeypatch, caplog):
    Clock(monkeypatch)
    caplog.set_level("INFO")
    run, rates = tmp_path / "run", []
    step = training.Training.lr_scheduler_step

    def noted(module, scheduler, metric):
        step(module, scheduler, metric)
        rates.append(scheduler.get_last_lr()[0] / 1e-3)

    monkeypatch.setattr(training.Training, "lr_scheduler_step", noted)
    short = config(maker, samples=8000, minutes=0.5, warm_up=1e-3)
    train_keypoints(run, maker, make_network(NETWORK, 0), short)
    # A third and two thirds of the time: 0.01 + 0.99 * (1 + cos(pi / 3)) / 2, and so on
    assert rates == pytest.approx([0.7525, 0.2575, 0.01], abs=2e-3)
    assert [line["samples"] for line in lines(run)] == [16, 24]
    assert [line["samples_per_second"] for line in lines(run)] == [0.8, 0.8]
    said = [one for one in caplog.messages if one.startswith("epoch")]
    assert said[0].startswith("epoch 1 of at most 500: ")
    assert [one.endswith("; 0 min left") for one in said] == [True, True]  # not hours
    assert load_network(run / "network.safetensors")[1]["samples"] == 24
    checkpoint, rate = stored(run)
    assert checkpoint["seconds"] == 30 and rate == pytest.approx(1e-5)
    assert (run / "contact_sheets" / "epoch_0002.png").exists()

    before = (run / "last.ckpt").read_bytes()
    train_keypoints(run, maker, make_network(NETWORK, 0), short, resume=True)
    assert (run / "last.ckpt").read_bytes() == before  # no time, no step


@pytest.mark.parametrize(("labels", "counts"), [("colour", [1, 2]), ("shape", [4, 24])])
def test_labels_tell_turns_apart_by_colour_or_by_shape_alone(maker, labels, counts):
    """A brick has three half turns, a cube 23 turns; the objects of a run stay what they are."""
    module = KeypointTraining(make_network(NETWORK, 0), maker.objects, config(maker, labels=labels))
    assert module.labels.symmetries[:, :, 0, 0].isfinite().sum(dim=1).tolist() == counts
    assert [len(one.symmetries) for one in maker.objects] == [1, 2]


def test_the_progress_bar_shows_time_where_that_decides(maker, monkeypatch):
    long = config(maker, samples=8000, minutes=1)
    bar = ProgressBar(long)
    module = KeypointTraining(make_network(NETWORK, 0), maker.objects, long)
    monkeypatch.setattr(module, "progress", lambda metrics: "")
    trainer = SimpleNamespace(is_last_batch=True, callback_metrics={})
    for step, seconds, shown in [(3, 30, 500), (900, 30, 900), (950, 70, 1000)]:
        trainer.global_step, module.seconds = step, seconds
        bar.on_train_batch_end(trainer, module, None, {}, 0)
        [task] = bar.bar.tasks
        assert (task.completed, task.fields["step"], task.total) == (shown, step, 1000)


@pytest.mark.slow
def test_a_run_that_goes_on_counts_the_time_before(tmp_path, maker, monkeypatch):
    Clock(monkeypatch)
    run = tmp_path / "run"
    train_keypoints(run, maker, make_network(NETWORK, 0), config(maker, samples=16))
    assert stored(run)[0]["seconds"] == 20  # two steps
    longer = config(maker, samples=8000, minutes=50 / 60)
    train_keypoints(run, maker, make_network(NETWORK, 0), longer, resume=True)
    assert [line["samples"] for line in lines(run)] == [16, 32, 40]
    checkpoint, rate = stored(run)
    assert checkpoint["seconds"] == 50 and rate == pytest.approx(1e-5)


@pytest.mark.slow
def test_time_to_spare_changes_nothing(tmp_path, maker):
    runs = {None: tmp_path / "any", 1e6: tmp_path / "much"}
    for minutes, run in runs.items():
        train_keypoints(run, maker, make_network(NETWORK, 0), config(maker, minutes=minutes))
    (one, rate), (other, other_rate) = map(stored, runs.values())
    assert rate == other_rate == pytest.approx(1e-5)
    for name, value in one["state_dict"].items():
        assert torch.equal(value, other["state_dict"][name]), name


class FewSamples(SampleMaker):
    """Draws the same four samples again and again."""

    def __call__(self, rng):
        return super().__call__(np.random.default_rng(int(rng.integers(4))))


@pytest.mark.slow
def test_a_network_learns_few_samples_by_heart(tmp_path, maker):
    run = tmp_path / "run"
    few = FewSamples(maker.objects, maker.backgrounds, maker.config)
    longer = config(few, samples=480, samples_per_epoch=160, batch_size=8, learning_rate=3e-3)
    train_keypoints(run, few, make_network(NETWORK, 0), longer)
    losses = [line["unseen_loss"] for line in lines(run)]
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.85 * losses[0]


def test_frozen_stages_keep_their_weights_and_the_others_move(tmp_path, maker):
    network = make_network(NETWORK, 0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train_keypoints(tmp_path / "run", maker, network, config(maker, frozen=True))
    after = network.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    kept = {n for n in before if n.startswith(("trunk.conv1", "trunk.bn1", "trunk.layer1"))}
    assert kept <= same
    assert "trunk.layer2.0.conv1.weight" not in same and "head.weight" not in same


@pytest.fixture
def depth_maker(maker):
    wanted = replace(maker.config, depth=DepthConfig())
    return SampleMaker(maker.objects, maker.backgrounds, wanted)


@pytest.mark.slow
def test_a_network_of_colours_and_depth_is_trained_and_goes_on(tmp_path, depth_maker):
    run, cross = tmp_path / "run", replace(NETWORK, fusion="cross")
    train_keypoints(run, depth_maker, make_network(cross, 0), config(depth_maker, samples=16))
    network, notes = load_network(run / "network.safetensors")
    assert network.config == cross
    assert notes["train"]["sample"]["depth"]["missing"] == 0.15
    assert network.fusion.to_colours[0].conv.weight.any()  # no longer the zeros it began as
    assert read_image(run / "contact_sheets" / "epoch_0001.png").shape == (256, 384, 3)

    train_keypoints(run, depth_maker, make_network(cross, 5), config(depth_maker), resume=True)
    assert [line["epoch"] for line in lines(run)] == [1, 2]
    narrow = make_network(replace(cross, depth_width=16), 0)
    with pytest.raises(CheckpointError, match=r"has fusion\.trunk\.conv1\.weight of shape \(32"):
        train_keypoints(run, depth_maker, narrow, config(depth_maker), resume=True)


def test_samples_and_network_agree_on_depth(tmp_path, maker, depth_maker):
    cross = replace(NETWORK, fusion="cross")
    with pytest.raises(ValueError, match="samples are made with depth None"):
        train_keypoints(tmp_path / "a", maker, make_network(cross, 0), config(maker))
    with pytest.raises(ValueError, match="fusion 'none'"):
        train_keypoints(tmp_path / "b", maker, make_network(NETWORK, 0), config(depth_maker))
