import pytest
from typer.testing import CliRunner

from heatpose.cli import app


@pytest.fixture
def command(small_bop, tmp_path):
    root = small_bop()
    models = ["--objects", str(root / "models_eval"), "--dataset", str(root)]
    return ["study", "precision", *models, "--out", str(tmp_path / "out"), "--crop-size", "64"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--rows", "int8"], "the study precision has no row 'int8': it has fp32, bf16"),
        (["--boxes", "true", "--boxes", "a.json"], "--boxes was given 2 times for 1 data sets"),
        (["--crop-size", "100"], "crop_size must be divisible by 32, got 100"),
        (["--upright", "2"], "upright is a share in [0, 1], got 2.0"),
        (["--objects", "nowhere"], "models folder nowhere is missing"),
        (["--dataset", "nowhere"], "cannot read"),
    ],
)
def test_nonsense_is_answered_in_one_line(command, tmp_path, extra, message):
    if extra[0] == "--dataset":
        at = command.index("--dataset")
        command = command[:at] + command[at + 2 :]
    result = CliRunner().invoke(app, [*command, *extra])
    assert result.exit_code == 1
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("error: ") and message in last
    assert not (tmp_path / "out").exists()


def test_options_reach_the_study(command, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        "heatpose.study.conduct.conduct",
        lambda study, options, seeds, place, means: asked.append((study, options, seeds, means)),
    )
    more = [
        "--budget",
        "64",
        "--seeds",
        "2",
        "--parallel",
        "3",
        "--rows",
        "bf16",
        "--hidden",
        "0.5",
    ]
    CliRunner().invoke(app, [*command, *more])
    [(study, options, seeds, means)] = asked
    assert [row.name for row in study.rows] == ["fp32", "bf16"]
    assert (options.samples, seeds, means.parallel) == (64, 2, 3)
    assert {row.train.sample.views.hidden for row in study.rows} == {0.5}
    assert {row.train.sample.crop_size for row in study.rows} == {64}
