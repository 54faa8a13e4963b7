"""Scores as people and programs read them."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from heatpose.evaluate.report import as_comparison, as_record, as_sentence, as_table
from heatpose.evaluate.scores import KEYS, Evaluation


@pytest.fixture
def evaluation():
    """Two targets of object 10 and one of object 2, without depth."""
    scores = {key: np.array([1.0, 0.5, 0.0]) for key in KEYS}
    images = np.array([[1, 5], [1, 6], [1, 6]])
    return Evaluation(np.array([10, 10, 2]), images, scores | {"ar_vsd": None})


def test_the_record_is_the_one_that_is_promised(evaluation):
    record = json.loads(json.dumps(as_record(evaluation)))
    expected = dict.fromkeys(KEYS, 0.5) | {"ar_vsd": None}
    assert record["targets"] == 3
    assert record["mean"] == expected
    low, high = record["interval"]["ar_mssd"]
    assert 0 <= low < 0.5 < high <= 1
    assert list(record["objects"]) == ["2", "10"]
    assert record["objects"]["10"] == dict.fromkeys(KEYS, 0.75) | {"ar_vsd": None}
    assert (
        *("ar_mssd", "ar_mspd", "ar_vsd", "add_s_0.1d", "add_s_0.05d", "add_s_0.02d"),
        *("add_s_auc", "add_auc", "adi_auc", "proj_5px", "deg5_cm5"),
    ) == KEYS


def test_the_table_has_a_line_per_object_and_one_for_all(evaluation):
    console = Console(width=140, record=True, file=None)
    with console.capture() as capture:
        console.print(as_table(evaluation, {10: "eggbox"}))
    lines = [re.split(r"\s{2,}", line.strip()) for line in capture.get().splitlines()]
    rows = {line[0]: line[1:] for line in lines}
    assert rows["2"] == ["1", *["0.0000"] * 2, "-", *["0.0000"] * 8]
    assert rows["10 eggbox"] == ["2", *["0.7500"] * 2, "-", *["0.7500"] * 8]
    assert rows["mean"] == ["3", *["0.5000"] * 2, "-", *["0.5000"] * 8]


def test_the_sentence_leaves_out_what_is_not_there(evaluation):
    shown = re.sub(r" \([^)]*\)", "", as_sentence(evaluation))
    assert shown == (
        "AR_MSSD 0.5000, AR_MSPD 0.5000, ADD(-S) 0.1d 0.5000 over 3 targets; in brackets the "
        "range of 95 % of 2000 draws of 2 images"
    )
    evaluation.scores["ar_vsd"] = np.array([1.0, 1.0, 0.0])
    assert "AR_VSD 0.6667" in as_sentence(evaluation)


def test_another_method_stands_beside_in_table_and_record(evaluation):
    worse = {k: None if v is None else v - 0.25 for k, v in evaluation.scores.items()}
    other = replace(evaluation, scores=worse)
    console = Console(width=130, record=True, file=None)
    with console.capture() as capture:
        console.print(as_comparison(evaluation, other, {}))
    mean = capture.get().strip().splitlines()[-1]
    assert re.split(r"\s{2,}", mean.strip()) == [
        "mean",
        *["0.500", "0.250", "+0.250 to +0.250"] * 3,
    ]
    record = as_record(evaluation, other)
    assert record["against"]["mean"]["ar_mssd"] == pytest.approx(0.25)
    assert record["against"]["difference_interval"]["ar_mssd"] == pytest.approx([0.25, 0.25])
    assert record["against"]["difference_interval"]["ar_vsd"] is None
