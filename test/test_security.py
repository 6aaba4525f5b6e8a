"""Nothing in the code executes or unpickles what it reads, and the SROS2 policy is up to date."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import sros2_policy

ROOT = Path(__file__).resolve().parent.parent
CODE = sorted(
    path
    for folder in ("iup_pose_ros", "launch", "tools", "examples", "ros_standins")
    for path in (ROOT / folder).rglob("*.py")
)
FORBIDDEN_MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "jsonpickle", "code"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.unsafe_load",
    "yaml.UnsafeLoader",
    "yaml.Loader",
}
# Call -> the argument that makes it safe.
SAFE_BY = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
# Its unpickler makes arrays and numbers only, which test/datasets/test_layouts.py checks.
PICKLES = {"iup_pose_ros/datasets/files.py"}


def violations(source: str) -> Iterator[str]:
    """What a source file must not contain."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in FORBIDDEN_MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in FORBIDDEN_MODULES:
            yield node.module
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            argument, value = SAFE_BY.get(name, ("", None))
            if name in FORBIDDEN_CALLS or given.get("shell") or given.get(argument) != value:
                yield name


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", ["pickle"]),
        ("from shelve import open", ["shelve"]),
        ("eval('1')", ["eval"]),
        ("yaml.load(text)", ["yaml.load"]),
        ("yaml.safe_load(text)", []),
        ("torch.load(path)", ["torch.load"]),
        ("torch.load(path, weights_only=True)", []),
        ("np.load(path)", ["np.load"]),
        ("np.load(path, allow_pickle=False)", []),
        ("subprocess.run('ls', shell=True)", ["subprocess.run"]),
        ("subprocess.run(['ls'])", []),
    ],
)
def test_what_executes_its_input_is_found(source, found):
    assert list(violations(source)) == found


def test_no_code_executes_or_unpickles_what_it_reads():
    assert len(CODE) > 150
    found = {str(path.relative_to(ROOT)): list(violations(path.read_text(encoding="utf-8"))) for path in CODE}
    assert {path: names for path, names in found.items() if names} == {path: ["pickle"] for path in PICKLES}


def test_policy_is_up_to_date():
    assert sros2_policy.main(["--check"]) == 0
