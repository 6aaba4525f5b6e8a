"""What all commands have in common: how they report errors and print tables."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import typer

from iup_pose_ros.errors import IupPoseError

if TYPE_CHECKING:
    from rich.console import Console

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
_TABLE_WIDTH = 110  # of tables in files and pipes, which have no width of their own

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def says_errors(command: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The command, with this package's errors as one sentence on stderr and exit code 2."""

    @functools.wraps(command)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return command(*args, **kwargs)
        except IupPoseError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(EXIT_BAD_INPUT) from error

    return wrapped


def table_console() -> Console:
    """A console wide enough for tables, whether or not someone looks at it."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = _TABLE_WIDTH
    return console
