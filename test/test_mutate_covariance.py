"""The mutants of tools/mutate_covariance.py fit the source; `make mutants` runs them."""

from __future__ import annotations

import pytest
from mutate_covariance import ROOT, mutated, read_mutants

MUTANTS = list(read_mutants())


@pytest.mark.parametrize(("module", "tests", "mutants"), MUTANTS, ids=[module for module, *_ in MUTANTS])
def test_every_mutant_changes_one_place_of_its_module(module, tests, mutants):
    source = (ROOT / "iup_pose_ros" / module).read_text()
    for mutant in mutants:
        compile(mutated(source, mutant), module, "exec")
    assert all((ROOT / "test" / test).exists() for test in tests)
