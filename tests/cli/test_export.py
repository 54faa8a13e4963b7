from pathlib import Path

import pytest
from typer.testing import CliRunner

import heatpose.export.bundle as bundle
from heatpose.cli import app
from heatpose.export.agreement import Agreement
from heatpose.export.bundle import ExportReport


@pytest.fixture
def asked(monkeypatch):
    """What the command asks the library for; the library writes 2 MB."""
    calls = []

    def export_run(run, out, **options):
        calls.append((run, options))
        out.write_bytes(bytes(2_000_000))
        return ExportReport(
            Agreement(0.004, 0.02, 1e-4, 64), Agreement(0.05, 0.2, 1e-2, 64), "bf16"
        )

    monkeypatch.setattr(bundle, "export_run", export_run)
    return calls


def test_the_command_says_size_and_tolerance(asked, tmp_path):
    out = tmp_path / "toys.heatpose"
    result = CliRunner().invoke(
        app, ["export", "run", "--out", str(out), "--names", "1=ape, 5=can", "--notes", "AR 0.5"]
    )
    assert result.exit_code == 0
    assert result.output == (
        f"{out}: 2.0 MB; keypoints against torch: 0.004 px in the median, 0.020 px in 95 % in f32, "
        "0.050 px in the median, 0.200 px in 95 % in bf16 (OpenVINO's choice here)\n"
    )
    run, options = asked[0]
    assert run == Path("run") and options["object_names"] == {1: "ape", 5: "can"}
    assert (options["notes"], options["attribution"], options["name"]) == ("AR 0.5", "", None)


@pytest.mark.parametrize("names", ["ape", "1=", "x=ape"])
def test_names_that_say_nothing_are_refused(asked, tmp_path, names):
    result = CliRunner().invoke(
        app, ["export", "run", "--out", str(tmp_path / "toys.heatpose"), "--names", names]
    )
    assert result.exit_code == 2 and not asked


def test_a_run_that_is_not_there_is_one_line(tmp_path):
    result = CliRunner().invoke(
        app, ["export", str(tmp_path), "--out", str(tmp_path / "a.heatpose")]
    )
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
