"""Equal bytes have equal hashes, wherever they stand; other bytes have others."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feedmill.features.text.byte_rows import CHUNK_BYTES, ByteHashes


def hashes_of(buffer: bytes, *runs: tuple[int, int]) -> list[int]:
    starts, ends = np.array(runs).T
    found = ByteHashes(np.frombuffer(buffer, dtype=np.uint8)).hashes(starts, ends)
    return list(found.tolist())


@given(st.binary(max_size=20), st.binary(max_size=20), st.binary(min_size=1, max_size=20))
def test_a_hash_does_not_depend_on_what_stands_around(
    before: bytes, after: bytes, run: bytes
) -> None:
    where = len(before), len(before) + len(run)
    assert hashes_of(before + run + after, where) == hashes_of(run, (0, len(run)))


def test_of_all_short_runs_no_two_have_one_hash() -> None:
    runs = {bytes([a, b]) for a in range(256) for b in range(256)} | {
        bytes([a]) for a in range(256)
    }
    assert len({hashes_of(run, (0, len(run)))[0] for run in runs}) == len(runs)


def test_a_buffer_of_any_length_is_hashed() -> None:
    assert hashes_of(b"", (0, 0)) == [0]
    long = b"ab" * (4 * CHUNK_BYTES)
    first, last = hashes_of(long, (0, 2), (len(long) - 2, len(long)))
    assert first == last == hashes_of(b"ab", (0, 2))[0]
