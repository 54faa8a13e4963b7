from io import StringIO

import pytest
from rich.console import Console

from heatpose.evaluate.detection_report import as_record, as_sentence, as_table
from heatpose.evaluate.detections import DetectionEvaluation, DetectionScores


@pytest.fixture
def evaluation():
    mean = DetectionScores(ap=0.5, ap50=0.75, recall50=0.9, recall75=0.6, targets=12)
    absent = DetectionScores(ap=1.0, ap50=1.0, recall50=None, recall75=None, targets=0)
    return DetectionEvaluation(mean, {3: mean, 8: absent})


def test_the_record_holds_every_score(evaluation):
    record = as_record(evaluation)
    mean = {"ap": 0.5, "ap50": 0.75, "recall50": 0.9, "recall75": 0.6, "targets": 12}
    assert record["mean"] == record["objects"]["3"] == mean
    assert record["objects"]["8"]["recall50"] is None


def test_the_table_has_a_line_per_object_with_its_name(evaluation):
    screen = Console(file=StringIO(), width=100)
    screen.print(as_table(evaluation, {3: "bolt"}))
    lines = [line.split() for line in screen.file.getvalue().splitlines()]
    assert ["3", "bolt", "12", "0.5000", "0.7500", "0.9000", "0.6000"] in lines
    assert ["8", "0", "1.0000", "1.0000", "-", "-"] in lines
    assert ["all", "12", "0.5000", "0.7500", "0.9000", "0.6000"] in lines


def test_the_sentence_says_over_how_many(evaluation):
    assert as_sentence(evaluation) == (
        "mAP 50-95 0.5000, mAP 50 0.7500, recall IoU 0.5 0.9000, recall IoU 0.75 0.6000 "
        "over 12 targets"
    )
