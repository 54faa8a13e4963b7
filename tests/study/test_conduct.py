"""Whole studies, as small as they can be."""

import csv
import json
import logging
import os
from dataclasses import replace

import pytest
import torch

from heatpose.data.fields import write_json
from heatpose.errors import DataError, HeatposeError, OptionError
from heatpose.model.network import KeypointNet, NetworkConfig
from heatpose.model.weights import save_network
from heatpose.study import conduct as conduct_module
from heatpose.study import run as run_module
from heatpose.study.conduct import Means, _digest, conduct, describe
from heatpose.study.report import as_text, write_results
from heatpose.study.results import read_results
from heatpose.study.rows import StudyOptions, TestSet
from heatpose.study.run import Runner, jobs_of
from heatpose.study.studies import make_study
from heatpose.train import loop
from heatpose.train.start import make_network

# Lightning and tensorboard are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(autouse=True)
def few_samples_beside_training(monkeypatch):
    monkeypatch.setattr(loop, "UNSEEN", 8)


@pytest.fixture
def options(small_bop):
    root = small_bop()
    return StudyOptions(root / "models_eval", (TestSet(root),), 16, crop_size=64, batch_size=8)


def two_rows(options):
    return make_study("precision", options, 2)


@pytest.mark.slow
def test_a_study_ends_in_tables_and_a_page(options, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    study, place = two_rows(options), tmp_path / "out"
    conduct(study, options, 2, place, Means())
    assert "2 rows, 2 seeds, 4 runs of which 0 are done" in caplog.text
    assert "4 trainings of 16 samples" in caplog.text
    found = read_results(place, study, 2)
    page = write_results(place, found, options, ["heatpose", "study", "precision"])

    assert found.datasets == {"small": (4, 2)}
    assert [one.row.name for one in found.rows] == ["fp32", "bf16"]
    assert found.rows[0].cells["small"]["ar_mspd"].gain is None
    assert len(found.rows[1].cells["small"]["ar_mspd"].seeds) == 2
    lines = list(csv.DictReader((place / "table.csv").open()))
    assert len(lines) == 2 * 4 and {line["dataset"] for line in lines} == {"small"}
    assert json.loads((place / "table.json").read_text())["seeds"] == 2
    assert as_text(found).startswith("small: 4 targets in 2 images, %")
    html = page.read_text()
    assert "heatpose study precision" in html and "<svg" in html and "$" not in html

    run = place / "runs" / "bf16" / "seed-1"
    assert {path.name for path in run.iterdir()} == {"scores.json", "small.csv", "log.jsonl"}
    record = json.loads((run / "scores.json").read_text())
    network = place / record["network"]
    assert network.exists() and not (network.parent / "last.ckpt").exists()
    assert record["config"]["train"]["bf16"] is True


@pytest.mark.slow
def test_what_is_done_is_never_repeated(options, tmp_path, monkeypatch):
    study, place = two_rows(options), tmp_path / "out"
    conduct(study, options, 1, place, Means())
    monkeypatch.setattr(Runner, "__call__", lambda *a: pytest.fail("it was done"))
    conduct(study, options, 1, place, Means())
    trained = []
    monkeypatch.undo()
    monkeypatch.setattr(loop, "UNSEEN", 8)
    monkeypatch.setattr(
        Runner, "train", lambda self, job, folder: trained.append(job.seed) or (1 / 0)
    )
    with pytest.raises(HeatposeError, match="2 of 2 trainings failed: fp32, seed 1: ZeroDivision"):
        conduct(study, options, 2, place, Means())  # a further seed, in the same folder
    assert trained == [1, 1]
    with pytest.raises(DataError, match="no run of 'fp32' with seed 1"):
        read_results(place, study, 2)


@pytest.mark.slow
def test_an_interrupted_training_goes_on_from_its_checkpoint(options, tmp_path, monkeypatch):
    options = replace(options, samples=32)
    study, place = two_rows(options).only(set()), tmp_path / "out"
    end = loop.EpochEnd.on_train_epoch_end

    def stop(self, trainer, module):
        end(self, trainer, module)
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(loop.EpochEnd, "on_train_epoch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            conduct(study, options, 1, place, Means())
    [job] = jobs_of(study, 1)
    folder = job.training_folder(place)
    assert (folder / "last.ckpt").exists() and not (place / "runs").exists()
    assert run_module.samples_done(folder) == 16

    conduct(study, options, 1, place, Means())
    assert [json.loads(line)["samples"] for line in (folder / "log.jsonl").open()] == [
        8,
        16,
        24,
        32,
    ]
    assert json.loads((folder / "done.json").read_text())["interrupted"] is True


def test_other_options_in_the_same_folder_are_refused(options, tmp_path):
    place = tmp_path / "out"
    conduct_module.begin(place, two_rows(options), options)
    conduct_module.begin(place, two_rows(options), options)
    other = replace(options, samples=24)
    with pytest.raises(OptionError, match=r"was begun with --budget 16, not 24: go on with"):
        conduct_module.begin(place, two_rows(other), other)
    with pytest.raises(OptionError, match="was begun with study 'precision', not 'schedule'"):
        conduct_module.begin(place, make_study("schedule", options, 2), options)
    (options.objects / "obj_000001.ply").write_bytes(b"another mesh")
    with pytest.raises(OptionError, match="was begun with files"):
        conduct_module.begin(place, two_rows(options), options)


def test_a_folder_of_something_else_is_left_alone(options, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match=r"holds no study\.json: choose another --out"):
        conduct_module.begin(tmp_path / "out", two_rows(options), options)
    twice = replace(options, datasets=options.datasets * 2)
    with pytest.raises(OptionError, match="two data sets are called small"):
        conduct_module.begin(tmp_path / "new", two_rows(options), twice)


@pytest.mark.slow
def test_rows_that_differ_after_the_network_share_their_training(options, tmp_path):
    study, place = make_study("ladder", options, 2), tmp_path / "out"
    few = study.only({"sub-pixel", "weighted PnP"})
    jobs = jobs_of(few, 2)
    assert [[row.name for row in job.rows] for job in jobs] == [
        ["box corners"],
        ["sub-pixel", "weighted PnP"],
    ] * 2
    conduct(few, options, 1, place, Means())
    assert len(list((place / "trainings").iterdir())) == 2
    scores = [json.loads(path.read_text()) for path in place.glob("runs/*/seed-0/scores.json")]
    assert len({record["network"] for record in scores}) == 2 and len(scores) == 3


@pytest.mark.slow
def test_runs_side_by_side_give_what_they_give_one_by_one(options, tmp_path):
    study, threads = two_rows(options), torch.get_num_threads()
    # As many as each of two processes has: with others, sums come out in another order.
    torch.set_num_threads(max((os.cpu_count() or 1) // 2, 1))
    try:
        conduct(study, options, 1, tmp_path / "one", Means())
    finally:
        torch.set_num_threads(threads)
    conduct(study, options, 1, tmp_path / "two", Means(parallel=2, workers=1))
    one, two = (sorted((tmp_path / name).glob("runs/*/*/small.csv")) for name in ("one", "two"))
    assert len(one) == len(two) == 2
    for first, second in zip(one, two, strict=True):
        poses = [
            [line.split(",")[:3] + line.split(",")[4:6] for line in path.read_text().splitlines()]
            for path in (first, second)
        ]
        assert poses[0] == poses[1]


def test_rows_may_begin_with_the_features_of_another_network(options, bench_network, tmp_path):
    path, network = bench_network
    begun = replace(options, init=path)
    study = make_study("keypoints", begun, 2)
    made = []
    for row in (study.rows[0], study.rows[1]):
        made.append(make_network(row.network, 3, None, begun.init).state_dict())
    theirs = network.state_dict()
    for name in ("trunk.conv1.weight", "decoder.laterals.0.weight"):
        assert all(torch.equal(state[name], theirs[name]) for state in made)
    assert made[0]["head.weight"].shape[1] == 9 and made[1]["head.weight"].shape[1] == 8
    assert not torch.equal(made[1]["head.weight"][0], theirs["head.weight"][0])
    assert f"other.safetensors {_digest(path)}" in describe("keypoints", begun)["files"]


@pytest.fixture
def bench_network(tmp_path):
    """The file of a network for one other object, with as many keypoints, and the network."""
    folder = tmp_path / "other"
    folder.mkdir()
    network = KeypointNet(NetworkConfig(1, 8, crop_size=64))
    save_network(folder / "other.safetensors", network, {})
    write_json(folder / "objects.json", {"format": 1, "objects": []})
    return folder / "other.safetensors", network
