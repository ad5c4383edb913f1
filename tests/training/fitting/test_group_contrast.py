from math import log, sqrt

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from feedmill.features.text.ngrams import BUCKETS
from feedmill.training.arrays import Values
from feedmill.training.fitting.group_contrast import group_contrast

Row = tuple[int, bool, frozenset[int]]  # its group, whether it violates, its n-grams
ROWS = st.tuples(st.integers(-1, 4), st.booleans(), st.frozensets(st.integers(0, 5), max_size=4))


def scales(rows: list[Row]) -> Values:
    matrix = sparse.lil_matrix((len(rows), BUCKETS), dtype=np.float32)
    for index, (_, _, tokens) in enumerate(rows):
        for token in tokens:
            matrix[index, token] = 0.1 + token
    violating = np.array([is_bad for _, is_bad, _ in rows])
    return group_contrast(matrix.tocsr(), violating, np.array([group for group, _, _ in rows]))


def plain_scales(rows: list[Row]) -> list[float]:
    """The same of the first tokens, row by row, from the definition alone."""
    rows = [row for row in rows if row[0] >= 0]
    groups = {group for group, _, _ in rows}
    bad_part = {
        group: float(np.mean([is_bad for other, is_bad, _ in rows if other == group]))
        for group in groups
    }
    prior, logs = float(np.mean(list(bad_part.values()))), []
    for token in range(6):
        ratio = {}
        for kind in (True, False):
            found = {group for group, is_bad, tokens in rows if is_bad == kind and token in tokens}
            expected = 0.0
            for group in groups:
                having = sum(token in tokens for other, _, tokens in rows if other == group)
                part = bad_part[group] if kind else 1 - bad_part[group]
                expected += 1 - (1 - part) ** having
            more = 3 * (prior if kind else 1 - prior)
            ratio[kind] = (len(found) + more) / (expected + more)
        logs.append(abs(log(ratio[True] / ratio[False])))
    seen = [any(token in tokens for _, _, tokens in rows) for token in range(6)]
    squares = [value**2 for value, is_seen in zip(logs, seen, strict=True) if is_seen]
    spread = sqrt(sum(squares) / len(squares)) if squares else 1.0
    return [
        0.5 + 0.5 * value / (spread or 1.0) * is_seen
        for value, is_seen in zip(logs, seen, strict=True)
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, min_size=2, max_size=30))
def test_the_scales_are_those_of_the_definition(rows: list[Row]) -> None:
    rows += [(0, True, frozenset({0})), (1, False, frozenset({1}))]
    np.testing.assert_allclose(scales(rows)[:6], plain_scales(rows), rtol=1e-5, atol=1e-6)


def test_one_class_alone_changes_nothing() -> None:
    rows: list[Row] = [(0, False, frozenset({0})), (1, False, frozenset({1}))]
    assert (scales(rows) == 1).all()
