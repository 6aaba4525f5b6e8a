"""Validation of settings and its error messages."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

from iup_pose_ros.errors import ConfigurationError


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` with the known name that is most similar to ``value``."""
    nearest = difflib.get_close_matches(str(value), list(known), n=1, cutoff=0.0)[0]
    return f"did you mean {nearest!r}?"


def accepted_are(choices: Iterable[str]) -> str:
    """Return the words ``accepted are 'a', 'b'``."""
    return f"accepted are {', '.join(repr(choice) for choice in choices)}"


def check_number(what: str, value: float, minimum: float, maximum: float) -> None:
    """Raise ConfigurationError unless a number is finite and from ``minimum`` to ``maximum``."""
    if not (math.isfinite(value) and minimum <= value <= maximum):
        raise ConfigurationError(f"{what} is {value!r}; {minimum} to {maximum} is accepted")
