from pathlib import Path

import pytest
from typer.testing import CliRunner

import heatpose.export.bundle as bundle
from heatpose.cli import app
from heatpose.export.agreement import Agreement
from heatpose.export.bundle import ExportReport

REPORT = ExportReport(Agreement(0.004, 0.02, 1e-4, 64), Agreement(0.05, 0.2, 1e-2, 64), "bf16")


@pytest.fixture
def asked(monkeypatch):
    """What the command asks the library for; the library writes 2 MB."""
    calls = []

    def export_run(run, out, **options):
        calls.append((run, options))
        out.write_bytes(bytes(2_000_000))
        return REPORT, None

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


def test_a_detector_is_passed_on(asked, tmp_path):
    out = tmp_path / "toys.heatpose"
    arguments = ["--detector", "eye", "--int8", "--threshold", "0.4"]
    result = CliRunner().invoke(app, ["export", "run", "--out", str(out), *arguments])
    assert result.exit_code == 0, result.output
    _, options = asked[0]
    assert (options["detector"], options["int8"], options["threshold"]) == (Path("eye"), True, 0.4)


@pytest.mark.parametrize(
    ("arguments", "answer", "said"),
    [
        (["--detector", "eye"], (None, "much the same"), "detector against torch: much the same"),
        (
            ["--int8-keypoints"],
            (REPORT, None),
            "keypoints against torch: 0.004 px in the median, 0.020 px in 95 % in f32, "
            "0.050 px in the median, 0.200 px in 95 % in bf16 (OpenVINO's choice here)",
        ),
    ],
)
def test_a_bundle_is_changed(monkeypatch, tmp_path, arguments, answer, said):
    out, calls = tmp_path / "new.heatpose", []

    def change_bundle(*paths, **options):
        calls.append((*paths, options))
        out.write_bytes(bytes(2_000_000))
        return answer

    monkeypatch.setattr(bundle, "change_bundle", change_bundle)
    result = CliRunner().invoke(
        app, ["export", "--bundle", "old.heatpose", *arguments, "--out", str(out)]
    )
    assert result.output == f"{out}: 2.0 MB; {said}\n"
    options = {"name": None, "int8": False, "threshold": 0.25, "image_sizes": None}
    options["detector"] = Path("eye") if "eye" in arguments else None
    options["int8_keypoints"] = "eye" not in arguments
    assert calls == [(Path("old.heatpose"), out, options)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a RUN folder, or a --bundle"),
        (["run", "--bundle", "a.heatpose"], "give a RUN folder, or a --bundle"),
        (["--bundle", "a"], "--bundle asks for a --detector, or for --int8-keypoints"),
        (["run", "--int8"], "--int8 and --image-size ask for a --detector"),
        (["run", "--image-size", "320"], "--int8 and --image-size ask for a --detector"),
        (["run", "--detector", "d", "--image-size", "100"], "divisible by 32, got 100"),
        (["--bundle", "a", "--detector", "b", "--notes", "x"], "belong to a RUN"),
    ],
)
def test_options_that_do_not_go_together_are_refused(asked, tmp_path, arguments, message):
    out = ["--out", str(tmp_path / "toys.heatpose")]
    result = CliRunner().invoke(app, ["export", *arguments, *out])
    assert result.exit_code in (1, 2) and not asked
    assert message in " ".join(result.stderr.replace("│", " ").split())
