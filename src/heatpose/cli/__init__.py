"""The command line: decode what was asked, call, report. One file per command, no logic.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once.
"""

import logging
from typing import Annotated

import typer

import heatpose
from heatpose.cli import (
    bench,
    calibrate,
    create,
    data_check,
    data_convert,
    data_fetch,
    demo,
    estimate,
    export,
    object_keypoints,
    reproduce,
    study,
    synth,
    train,
    train_detector,
)
from heatpose.cli import eval as eval_
from heatpose.cli import object as object_
from heatpose.cli.failures import explained

app = typer.Typer(
    name="heatpose",
    help="From a CAD model to 6-DoF poses of that object in photographs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # what stands in square brackets is shown, not taken for a style
    pretty_exceptions_enable=False,  # what is not foreseen keeps Python's own traceback
)
object_app = typer.Typer(
    help="Look at CAD models and their keypoints.", no_args_is_help=True, rich_markup_mode=None
)
train_app = typer.Typer(help="Train networks.", no_args_is_help=True, rich_markup_mode=None)
data_app = typer.Typer(
    help="Fetch, convert and check data sets.", no_args_is_help=True, rich_markup_mode=None
)
reproduce_app = typer.Typer(
    help="Repeat what papers did.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(object_app, name="object")
app.add_typer(reproduce_app, name="reproduce")
app.add_typer(data_app, name="data")
app.add_typer(train_app, name="train")


class _Messages(logging.Handler):
    """Shows what the library logs on stderr, warnings marked as such."""

    def emit(self, record: logging.LogRecord) -> None:
        mark = "warning: " if record.levelno >= logging.WARNING else ""
        typer.echo(mark + record.getMessage(), err=True)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"heatpose {heatpose.__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """From a CAD model to 6-DoF poses of that object in photographs."""
    log = logging.getLogger("heatpose")
    log.handlers = [_Messages()]
    log.setLevel(logging.INFO)


object_app.command("inspect")(explained(object_.inspect))
object_app.command("keypoints")(explained(object_keypoints.keypoints))
train_app.command("keypoints")(explained(train.keypoints))
train_app.command("detector")(explained(train_detector.detector))
data_app.command("fetch")(explained(data_fetch.fetch))
data_app.command("convert")(explained(data_convert.convert))
data_app.command("check")(explained(data_check.check))
reproduce_app.command("linemod")(explained(reproduce.linemod))
app.command("synth")(explained(synth.synth))
app.command("create")(explained(create.create))
app.command("study")(explained(study.study))
app.command("export")(explained(export.export))
app.command("calibrate")(explained(calibrate.calibrate))
app.command("estimate")(explained(estimate.estimate))
app.command("eval")(explained(eval_.evaluate))
app.command("bench")(explained(bench.bench))
app.command("demo")(explained(demo.demo))


def main() -> None:
    """Run the command that the arguments ask for."""
    app()
