import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args

import pytest

from heatpose.errors import DataError
from heatpose.objects.keypoints import Strategy
from heatpose.study.rows import StudyOptions
from heatpose.study.studies import STUDIES, make_study

OPTIONS = StudyOptions(Path("models"), (), 1000, crop_size=96)


def flat(content, prefix=""):
    """The values of nested plain data by their place in it."""
    if not isinstance(content, dict):
        return {prefix: content}
    found = {}
    for name, value in content.items():
        found |= flat(value, f"{prefix}.{name}" if prefix else name)
    return found


def settings(row):
    return flat({**row.training, "solve": asdict(row.solve)})


def changes(one, other):
    first, second = settings(one), settings(other)
    return {name for name in first | second if first.get(name) != second.get(name)}


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_different_rows_and_claims_about_them(name):
    study = make_study(name, OPTIONS, 8)
    names = [row.name for row in study.rows]
    assert study.name == name and len(names) >= 2
    assert all({claim.better, claim.than} <= set(names) for claim in study.claims)
    kinds = [(row.training_id, row.solve) for row in study.rows]
    assert len(set(kinds)) == len(kinds)
    budgets = {(row.train.steps, row.train.batch_size) for row in study.rows}
    assert len(budgets) == 1  # as the claims want it


def test_a_ladder_changes_one_thing_a_row():
    rows = make_study("ladder", OPTIONS, 8).rows
    assert [changes(one, other) for one, other in itertools.pairwise(rows)] == [
        {"strategy", "network.n_keypoints"},
        {"train.schedule"},
        {"symmetric"},
        {"train.sample.degraded", "train.sample.cut_outs"}
        | {"train.sample.box_edge", "train.sample.box_whole", "train.sample.box_cut"},
        {"train.sample.stretched", "train.sample.margin"},
        {"solve.decoding"},
        {"solve.solver"},
        {"train.loss.reprojection", "train.loss.pose"},
        {"solve.outline"},
    ]


def test_the_ladder_begins_with_the_papers_recipe_and_ends_with_ours():
    ladder, baseline = (make_study(name, OPTIONS, 8).rows for name in ("ladder", "baseline"))
    assert not changes(ladder[0], baseline[1])
    assert not changes(ladder[-1], baseline[-1])


def test_keypoints_are_chosen_in_every_way_there_is():
    rows = make_study("keypoints", OPTIONS, 8).rows
    assert {row.strategy for row in rows} >= set(get_args(Strategy)) - {"candidates"}
    assert {row.network.n_keypoints for row in rows if row.strategy == "uniform"} == {8, 16, 32, 64}
    assert all(changes(rows[0], row) <= {"strategy", "network.n_keypoints"} for row in rows)


def test_only_what_asks_for_depth_gets_any():
    rows = make_study("fusion", OPTIONS, 8).rows
    assert [row.train.sample.depth is not None for row in rows] == [
        row.network.fusion != "none" for row in rows
    ]
    assert rows[0].training_id == rows[-1].training_id


def test_seeds_and_workers_are_no_part_of_a_training():
    row = make_study("schedule", OPTIONS, 8).rows[0]
    assert row.seeded(3, 4).seed == 3 and row.seeded(3, 4).workers == 4
    assert not {"seed", "workers"} & row.training["train"].keys()


def test_a_part_of_a_study_keeps_the_first_row_and_the_order():
    study = make_study("ladder", OPTIONS, 8).only({"outlines", "cosine"})
    assert [row.name for row in study.rows] == ["box corners", "cosine", "outlines"]


def test_keypoints_from_a_file_have_rows_of_their_own(tmp_path):
    path = tmp_path / "learned.json"
    points = [[float(i), 0.0, 1.0] for i in range(20)]
    objects = [{"id": i, "diameter_mm": 20.0, "keypoints_mm": points, "more": 1} for i in (1, 2)]
    path.write_text(json.dumps({"format": 1, "strategy": "learned", "objects": objects}))
    rows = make_study("keypoints", replace(OPTIONS, keypoints=path), 2).rows
    own = [row for row in rows if row.line == "learned"]
    assert [row.name for row in own] == ["learned 8", "learned 16"]
    assert len({row.training_id for row in rows}) == len(rows)
    path.write_text("[]")
    with pytest.raises(DataError, match="is not a file of keypoints"):
        make_study("keypoints", replace(OPTIONS, keypoints=path), 2)
