import logging
import os
import statistics
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

import heatpose
from heatpose.cli import app, start
from heatpose.cli.failures import explained
from heatpose.errors import DataError


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-c", "from heatpose.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def outcome_of(command):
    """What a command that is the only one of its app says and returns."""
    alone = typer.Typer(pretty_exceptions_enable=False)
    alone.command()(explained(command))
    return CliRunner().invoke(alone)


def raiser(error):
    def command():
        raise error

    return command


def test_help_names_every_command():
    result = run("--help")
    assert result.returncode == 0
    for name in ["object", "data", "train", "export", "estimate", "eval", "bench", "demo"]:
        assert f" {name} " in result.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["object", "inspect"],
        ["data", "fetch"],
        ["data", "convert"],
        ["data", "check"],
        ["train", "keypoints"],
        ["export"],
        ["estimate"],
        ["eval"],
        ["bench"],
        ["demo"],
    ],
    ids=" ".join,
)
def test_each_command_has_help(words):
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    assert " ".join(words) in result.output


def test_help_answers_in_half_a_second():
    def seconds():
        # Of a processor, not of the clock: what else the machine does must not count.
        before = os.times()
        run("--help")
        after = os.times()
        return sum(after[2:4]) - sum(before[2:4])

    assert statistics.median(seconds() for _ in range(5)) < 0.5


def test_version_is_that_of_the_package():
    assert run("--version").stdout == f"heatpose {heatpose.__version__}\n"


def test_an_unknown_command_is_a_usage_error():
    result = run("estimat")
    assert result.returncode == 2
    assert "estimat" in result.stderr


def test_a_foreseen_error_is_one_line_and_status_1():
    result = outcome_of(raiser(DataError("camera.json lacks cx,\ncy")))
    assert result.exit_code == 1
    assert result.stderr == "error: camera.json lacks cx, cy\n"
    assert result.stdout == ""


def test_an_interrupt_is_one_line_and_status_130():
    result = outcome_of(raiser(KeyboardInterrupt()))
    assert result.exit_code == 130
    assert result.stderr == "interrupted\n"


@pytest.mark.parametrize(
    ("module", "extra"),
    [("torch", "train"), ("lightning.pytorch", "train"), ("onnxruntime", "onnx")],
)
def test_a_missing_extra_is_named_with_the_command_that_brings_it(module, extra):
    result = outcome_of(raiser(ModuleNotFoundError(f"No module named {module!r}", name=module)))
    assert result.exit_code == 1
    assert result.stderr == (
        f"error: this command needs {module.split('.')[0]}, which is not installed: "
        f"pip install 'heatpose[{extra}]'\n"
    )


@pytest.mark.parametrize("error", [ZeroDivisionError("ours"), ModuleNotFoundError("x", name="x")])
def test_what_is_not_foreseen_keeps_its_traceback(error):
    assert outcome_of(raiser(error)).exception is error


def test_an_explained_command_keeps_its_arguments_and_help():
    def add(first: int, second: int = 2) -> int:
        """Add two numbers."""
        return first + second

    assert explained(add)(1, second=4) == 5
    assert explained(add).__doc__ == "Add two numbers."


@pytest.fixture
def log():
    log = logging.getLogger("heatpose")
    handlers, level = log.handlers, log.level
    yield log
    log.handlers, log.level = handlers, level


def test_messages_of_the_library_go_to_stderr_and_warnings_are_marked(log, capsys):
    start()
    log.getChild("objects").info("taken for metres")
    log.warning("texture %s is missing", "a.png")
    log.debug("not for people")
    assert capsys.readouterr().err == "taken for metres\nwarning: texture a.png is missing\n"


def test_starting_twice_says_things_once(log, capsys):
    start()
    start()
    log.info("once")
    assert capsys.readouterr().err == "once\n"
