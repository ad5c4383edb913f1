from __future__ import annotations

import numpy as np
import pytest

from feedmill.features.text.ngrams import TextBatch
from feedmill.features.text.shape import SHAPE_COLUMNS, shape_matrix


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("see shop.example.COM and www.example.co.uk/x", 3),
        ("Incmedia.org", 1),
        ("the end.Next one. com", 0),
        (".com", 0),
        ("com", 0),
        ("", 0),
    ],
)
def test_addresses_without_a_scheme_are_counted_by_their_ends(text: str, addresses: int) -> None:
    row = shape_matrix(TextBatch([text]))[0]
    assert row[SHAPE_COLUMNS.index("log_domain")] == np.float32(np.log1p(addresses))
