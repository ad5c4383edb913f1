"""What many pages ask for is made once for all of them, and so is its refusal."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from builders.running_console import NOWHERE
from feedmill.console.access import Access
from feedmill.console.routes import Console, NotFound
from feedmill.console.shared import Shared
from feedmill.streams.tokens import TokenFile


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    console = Console(NOWHERE, Access(TokenFile(tmp_path / "none")))
    yield console.part(Shared)
    console.close()


def test_all_who_ask_at_once_get_what_was_made_once(shared: Shared) -> None:
    numbers = count()
    with ThreadPoolExecutor(8) as pages:
        asked = [pages.submit(shared.get, "a", 60.0, lambda: next(numbers)) for _ in range(50)]
        assert {one.result() for one in asked} == {0}
    assert shared.get("another", 60.0, lambda: next(numbers)) == 1
    assert shared.get("a", -1.0, lambda: next(numbers)) == 2  # older than asked for
    assert (shared.last("a"), shared.last("unknown")) == (2, None)


def test_a_refusal_is_shared_until_it_is_old(shared: Shared) -> None:
    tried = []

    def refuse() -> int:
        tried.append(1)
        raise NotFound("feed", "x")

    for _ in range(3):
        with pytest.raises(NotFound, match="there is no feed `x`"):
            shared.get("a", 60.0, refuse)
    assert len(tried) == 1
    assert shared.get("a", -1.0, lambda: 7) == 7


def test_only_so_many_are_kept(shared: Shared) -> None:
    for number in range(1000):
        shared.get(number, 60.0, lambda: "page")
    assert (shared.last(0), shared.last(999)) == (None, "page")
