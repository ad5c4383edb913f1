"""Whatever the bytes are, every reader accepts them or refuses them with a reason."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.fuzz_targets import CORPUS, TARGETS, kept_inputs
from builders.mutations import mutated

# A target that takes milliseconds gets fewer draws.
DRAWS = {"artifact": 150, "artifact_member": 75, "config": 1000, "post_lines": 300, "card": 600}
DRAWS |= {"counters": 1000, "list_member": 150, "list_lines": 300, "experiment_table": 300}


@pytest.mark.parametrize("name", TARGETS)
def test_the_kept_corpus_is_accepted_or_refused_as_its_names_say(name: str) -> None:
    verdicts = {file: TARGETS[name](content) for file, content in kept_inputs(name).items()}
    assert verdicts == {file: file.startswith("good") for file in verdicts}
    assert set(verdicts.values()) == {True, False}


@pytest.mark.parametrize("name", TARGETS)
def test_changed_seeds_raise_nothing_but_a_refusal(name: str) -> None:
    rng, kept = random.Random(name), list(kept_inputs(name).values())
    draws = DRAWS.get(name, 3000)
    accepted = sum(TARGETS[name](mutated(kept, rng)) for _ in range(draws))
    # An archive has checksums, which most changes break.
    assert accepted > 0 or name == "artifact"
    assert accepted < draws


@pytest.mark.parametrize("name", TARGETS)
@given(content=st.binary(max_size=300))
def test_drawn_bytes_raise_nothing_but_a_refusal(name: str, content: bytes) -> None:
    TARGETS[name](content)


def test_every_folder_of_the_corpus_has_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
