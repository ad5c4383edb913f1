"""Versions as Redis names them."""

import pytest

from feedmill.rankers.combiner.short_version import short_version


def test_a_version_of_twelve_digits_is_cut_to_its_beginning() -> None:
    assert short_version("56e6e21cd4ce") == "56e6e2"


@pytest.mark.parametrize(
    "version",
    ["", "56e6e2", "56e6e21cd4c", "56e6e21cd4ce0", "56E6E21CD4CE", "56e6e21cd4ce\n", "v1"],
)
def test_any_other_version_is_whole(version: str) -> None:
    assert short_version(version) == version
