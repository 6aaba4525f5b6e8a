"""Error reporting and table output shared by all commands."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import typer

from iup_pose_ros.errors import IupPoseError, NodeProcessError

if TYPE_CHECKING:
    from rich.console import Console

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
_TABLE_WIDTH = 110  # columns, when the output is a file or a pipe

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def report_errors(command: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorate a command: print an ``IupPoseError`` to stderr; exit with code 2, or 1 if the node failed."""

    @functools.wraps(command)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return command(*args, **kwargs)
        except NodeProcessError as error:
            typer.echo(f"failed: {error}", err=True)
            raise typer.Exit(EXIT_FAILED) from error
        except IupPoseError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(EXIT_BAD_INPUT) from error

    return wrapped


def table_console() -> Console:
    """Return a console that is wide enough for tables even if the output is not a terminal."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = _TABLE_WIDTH
    return console
