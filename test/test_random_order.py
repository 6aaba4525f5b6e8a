"""`make test ORDER=seed` shuffles the files and the tests of each file."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture
def shuffled(pytestconfig):
    """Function that returns 60 tests of 6 files in the random order of a seed."""
    conftest = pytestconfig.pluginmanager.get_plugin(str(Path(__file__).with_name("conftest.py")))

    def of(seed):
        items = [SimpleNamespace(path=Path(f"test_{k // 10}.py"), name=str(k)) for k in range(60)]
        conftest.put_in_random_order(items, seed)
        return items

    return of


def names(items):
    return [item.name for item in items]


def test_a_seed_gives_an_order_of_all_tests(shuffled):
    assert sorted(map(int, names(shuffled(1)))) == list(range(60))
    assert names(shuffled(1)) == names(shuffled(1))


def test_seeds_give_different_orders_of_files_and_of_the_tests_in_them(shuffled):
    first, second = shuffled(1), shuffled(2)
    files = [[path for path, _ in groupby(items, lambda item: item.path)] for items in (first, second)]
    assert files[0] != files[1]
    of_a_file = [[item.name for item in items if item.path.stem == "test_0"] for items in (first, second)]
    assert of_a_file[0] != of_a_file[1]


def test_the_tests_of_a_file_stay_together(shuffled):
    assert len(list(groupby(shuffled(1), lambda item: item.path))) == 6
