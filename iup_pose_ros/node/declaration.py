"""Declaration and validation of one parameter, without ROS."""

from __future__ import annotations

import re
from dataclasses import dataclass

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.validation import accepted_are, check_number

ParameterValue = bool | int | float | str


@dataclass(frozen=True)
class Parameter:
    """Declaration of one ROS parameter.

    Attributes:
        name: name.
        default: default value; its type is the type of the parameter.
        description: one or two sentences with the unit.
        minimum: minimum of a number, None for other types.
        maximum: maximum of a number, None for other types.
        choices: accepted values of a string; empty if any is accepted.
        pattern: regular expression that a string must match completely; empty if any is accepted.
        form: the pattern in words.
        at_run_time: whether it can change while the node is configured; others are read when configuring.
    """

    name: str
    default: ParameterValue
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    form: str = ""
    at_run_time: bool = False

    @property
    def accepted(self) -> str:
        """Accepted values in words; empty if every value of the type is accepted."""
        if self.choices:
            return f"one of: {', '.join(self.choices)}"
        if self.minimum is not None and self.maximum is not None:
            return f"{self.minimum:.10g} to {self.maximum:.10g}"
        return self.form

    def check(self, value: object) -> None:
        """Raise ConfigurationError unless the value is accepted."""
        if type(value) is not type(self.default):
            raise ConfigurationError(
                f"parameter {self.name} is {value!r}; type {type(self.default).__name__} is required"
            )
        if self.choices and value not in self.choices:
            raise ConfigurationError(f"parameter {self.name} is {value!r}; {accepted_are(self.choices)}")
        if self.pattern and isinstance(value, str) and not re.fullmatch(self.pattern, value):
            raise ConfigurationError(f"parameter {self.name} is {value!r}; accepted is {self.form}")
        if self.minimum is not None and self.maximum is not None and isinstance(value, float | int):
            check_number(f"parameter {self.name}", value, self.minimum, self.maximum)
