"""No test file skips while it is imported: launch_testing imports files while their folder is collected.

A skip raised there would skip the whole folder.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent
_SKIPPING = {"skip", "importorskip", "xfail"}


def executed_on_import(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a module but those inside functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from executed_on_import(child)


def skips_on_import(source: str) -> bool:
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _SKIPPING
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "pytest"
        for node in executed_on_import(ast.parse(source))
    )


def test_no_file_skips_while_it_is_imported():
    files = sorted(TESTS.rglob("*.py"))
    assert len(files) > 50
    assert [str(path) for path in files if skips_on_import(path.read_text())] == []


def test_the_rule_finds_what_it_forbids():
    assert skips_on_import('import pytest\nif True:\n    pytest.skip("x", allow_module_level=True)')
    assert skips_on_import('import pytest\ngtsam = pytest.importorskip("gtsam")')
    assert not skips_on_import('import pytest\ndef test():\n    pytest.skip("x")')
    assert not skips_on_import('import pytest\npytestmark = pytest.mark.skipif(True, reason="x")')
