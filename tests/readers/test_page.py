"""Pages against the contract's oracle, over drawn records, settings and requests."""

from random import Random

import pytest

from builders.reader_world import ReaderWorld
from feedmill.readers import best_posts


@pytest.mark.parametrize("few", [3_000, 0], ids=["index", "cells"])
@pytest.mark.parametrize("seed", range(3))
def test_pages_are_what_the_contract_says(
    seed: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(best_posts, "_FEW_CANDIDATES", few)
    monkeypatch.setattr(best_posts, "_VISITED", 0 if few == 0 else 4)
    world = ReaderWorld()
    world.run_all(Random(seed).choices(range(1_000_000_000), k=500))
    assert world.seen["own"] > 100
    assert world.seen["posts"] > 50
