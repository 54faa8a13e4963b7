"""What a command says when it cannot go on: one line and an exit status, no traceback."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import NoReturn, ParamSpec, TypeVar

import typer

from heatpose.errors import HeatposeError, MissingExtraError, OptionError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

EXTRA_OF = {
    "OpenEXR": "synth",
    "coacd": "synth",
    "fast_simplification": "train",
    "lightning": "train",
    "matplotlib": "plots",
    "mitsuba": "synth",
    "mujoco": "synth",
    "nncf": "int8",
    "onnx": "train",
    "onnxruntime": "onnx",
    "onnxscript": "train",
    "pycocotools": "train",
    "pyoidn": "synth",
    "ray": "scale",
    "safetensors": "train",
    "tensorboard": "train",
    "torch": "train",
}  # what is imported -> the extra of heatpose that brings it


def explained(command: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Make a command answer foreseen errors with one line on stderr and exit status 1.

    An interrupt is exit status 130, as shells have it. Whatever is not foreseen is a fault of
    ours and keeps its traceback.
    """

    @functools.wraps(command)
    def explained_command(*args: Arguments.args, **options: Arguments.kwargs) -> Result:
        try:
            return command(*args, **options)
        except HeatposeError as error:
            _leave(f"error: {error}", status=1)
        except ModuleNotFoundError as error:
            _leave(f"error: {_missing_extra(error)}", status=1)
        except KeyboardInterrupt:
            _leave("interrupted", status=130)

    return explained_command


@contextlib.contextmanager
def checked_options() -> Iterator[None]:
    """Turn what a config says of a senseless value into an error for the user."""
    try:
        yield
    except ValueError as error:
        raise OptionError(str(error)) from None


def _missing_extra(error: ModuleNotFoundError) -> MissingExtraError:
    """Name the extra that brings a missing module; raise the error again if none does."""
    module = (error.name or "").split(".")[0]
    if module not in EXTRA_OF:
        raise error
    return MissingExtraError(
        f"this command needs {module}, which is not installed: "
        f"pip install 'heatpose[{EXTRA_OF[module]}]'"
    )


def _leave(message: str, status: int) -> NoReturn:
    """Say one line on stderr and end the command."""
    typer.echo(" ".join(message.splitlines()), err=True)
    raise typer.Exit(status)
