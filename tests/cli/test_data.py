"""heatpose data fetch, convert and check, as a user calls them."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from heatpose.cli import app
from heatpose.data.archives import DATASETS
from heatpose.data.images import image_size


def run(*words):
    return CliRunner().invoke(app, ["data", *map(str, words)])


@pytest.fixture
def preprocessed(toy_lab, tmp_path):
    toy_lab.write_preprocessed(tmp_path / "lm")
    return tmp_path / "lm"


def test_convert_says_what_it_recognised_and_what_came_of_it(preprocessed, tmp_path):
    answer = run("convert", preprocessed, "--out", tmp_path / "bop")
    assert answer.exit_code == 0, answer.output
    first, last = answer.stdout.splitlines()
    assert first == f"{preprocessed} is Linemod_preprocessed: 2 models, 10 frames"
    assert "frames: 4 in test, 6 in train; next: heatpose data check" in last
    again = run("convert", preprocessed, "--out", tmp_path / "bop")
    assert again.exit_code == 1
    assert "is there already" in again.stderr and not again.stdout.splitlines()[1:]


def test_check_calls_what_is_right_healthy_and_draws_it(preprocessed, tmp_path):
    picture = tmp_path / "check.png"
    answer = run("check", preprocessed, "--frames", 2, "--picture", picture)
    assert answer.exit_code == 0, answer.output
    assert f"{preprocessed} is Linemod_preprocessed" in answer.stdout
    assert "healthy: agreement " in answer.stdout and "fault" not in answer.stdout
    assert image_size(picture)[0] == 1440


@pytest.mark.slow
def test_check_names_a_fault_and_ends_with_status_1(preprocessed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in preprocessed.glob("data/*/rgb/*.png"):
        Image.fromarray(np.array(Image.open(path))[..., ::-1]).save(path, compress_level=1)
    answer = run("check", preprocessed, "--frames", 2)
    assert answer.exit_code == 1
    lines = answer.stdout.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("fault: red and blue"))
    assert lines[place + 1].strip() == "to put it right: exchange the first and the third channel"
    grown = re.search(r"what that explains: agreement .* colour (\S+) -> (\S+),", lines[place + 2])
    assert float(grown[1]) < 0.5 < 0.9 < float(grown[2])
    assert (tmp_path / "lm_check.jpg").is_file()


@pytest.mark.slow
def test_json_is_all_that_check_prints(preprocessed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = run("check", preprocessed, "--frames", 2, "--json")
    record = json.loads(answer.stdout)
    assert record["healthy"] and record["faults"] == [] and record["found"] == []
    assert record["layout"] == "Linemod_preprocessed"
    assert record["measured"]["depth"] > 0.98
    assert record["agreement"] == record["agreement_put_right"] > record["agreement_by_chance"] + 1
    assert not list(tmp_path.glob("*.jpg"))


def test_a_folder_of_no_known_layout_is_one_line_and_status_1(tmp_path):
    answer = run("check", tmp_path)
    assert answer.exit_code == 1
    (line,) = answer.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path} has no layout that is known: BOP")


def test_fetch_lists_what_there_is():
    answer = run("fetch", "--list")
    assert answer.exit_code == 0
    lines = answer.stdout.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == list(DATASETS)
    assert "lmo    LINEMOD-Occluded: base*, models*, test_bop19*, test_all" in lines[1]


def test_fetch_wants_a_name_and_a_folder():
    answer = run("fetch", "lmo")
    assert answer.exit_code == 2
    assert "say NAME and --out FOLDER, or --list" in answer.stderr


def test_fetch_names_a_server_that_is_not_there(tmp_path):
    answer = run("fetch", "lmo", "--out", tmp_path / "lmo", "--mirror", "http://127.0.0.1:9/")
    assert answer.exit_code == 1
    assert "http://127.0.0.1:9/api/datasets/bop-benchmark/lmo" in answer.stderr
