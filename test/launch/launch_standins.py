"""Runs launch files without launch, which exists in ROS distributions only."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Configuration:
    """Stands for launch's LaunchConfiguration; the context is a dictionary of the arguments."""

    def __init__(self, name: str) -> None:
        self.name = name

    def perform(self, context: dict[str, str]) -> str:
        return context[self.name]


def record(*args: object, **kwargs: object) -> SimpleNamespace:
    """Stands for an action or event of launch."""
    return SimpleNamespace(args=args, **kwargs)


_ACTIONS = (
    "DeclareLaunchArgument",
    "EmitEvent",
    "ExecuteProcess",
    "IncludeLaunchDescription",
    "OpaqueFunction",
    "SetEnvironmentVariable",
    "TimerAction",
)
_MODULES = {
    "launch": SimpleNamespace(LaunchDescription=list, LaunchContext=dict),
    "launch.action": SimpleNamespace(Action=SimpleNamespace),
    "launch.actions": SimpleNamespace(
        **dict.fromkeys(_ACTIONS, record), RegisterEventHandler=lambda handler: handler
    ),
    "launch.event_handlers": SimpleNamespace(OnProcessExit=record),
    "launch.events": SimpleNamespace(Shutdown=record, matches_action=lambda action: action),
    "launch.events.process": SimpleNamespace(ProcessExited=SimpleNamespace, SignalProcess=record),
    "launch.launch_description_sources": SimpleNamespace(PythonLaunchDescriptionSource=Path),
    "launch.substitutions": SimpleNamespace(LaunchConfiguration=Configuration),
    "launch_ros": SimpleNamespace(),
    "launch_ros.actions": SimpleNamespace(Node=record),
}


def run_launch_file(name: str, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Names that a launch file of this package defines."""
    for module, standin in _MODULES.items():
        monkeypatch.setitem(sys.modules, module, standin)
    return SimpleNamespace(**runpy.run_path(str(ROOT / "launch" / name)))
