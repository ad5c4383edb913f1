"""What kinds of media add to a head, where it is planted."""

from dataclasses import replace

import numpy as np
import pytest

from builders.training_data import WORDS
from feedmill.features.media import IMAGE, LINK, OTHER, UNKNOWN, VIDEO
from feedmill.training.fitting.heads import fit_head, fit_media, head_scores
from feedmill.training.fitting.linear_text import RidgePenalties, TextRows, score_rows, text_rows

ROWS, GROUPS = 400, 10
PENALTIES = RidgePenalties(30.0, media=1.0)


def planted() -> TextRows:
    """Rows of ten groups: a picture adds 1 and a video 0.5 to a link's; later groups are larger."""
    random = np.random.default_rng(3)
    media = random.choice([LINK, IMAGE, VIDEO], ROWS).astype(np.int8)
    values = np.where(media == IMAGE, 1.0, np.where(media == VIDEO, 0.5, 0.0))
    group = np.arange(ROWS) % GROUPS
    texts = [" ".join(random.choice(WORDS, 8)) for _ in range(ROWS)]
    return text_rows(texts, values + 5.0 * group, [f"g{n}" for n in group], media=media)


def test_kinds_add_what_they_add_within_groups() -> None:
    rows = planted()
    media = fit_media(rows, np.zeros(ROWS), 1e-6)
    assert media[IMAGE] - media[LINK] == pytest.approx(1, abs=1e-4)
    assert media[VIDEO] - media[LINK] == pytest.approx(0.5, abs=1e-4)
    assert media[rows.media].mean() == pytest.approx(0, abs=1e-12)
    # Kinds that no row has, and unknown ones, add nothing.
    assert media[OTHER] == media[UNKNOWN] == 0


def test_rows_of_unknown_kinds_are_left_out() -> None:
    rows = planted()
    assert rows.media is not None
    is_unknown = np.arange(ROWS) % 4 == 0
    some = replace(
        rows,
        media=np.where(is_unknown, UNKNOWN, rows.media).astype(np.int8),
        values=np.where(is_unknown, 1e6, rows.values),
    )
    found = fit_media(some, np.zeros(ROWS), 1e-6)
    known = fit_media(rows.where(~is_unknown), np.zeros(int((~is_unknown).sum())), 1e-6)
    np.testing.assert_array_equal(found, known)
    assert found[IMAGE] - found[LINK] == pytest.approx(1, abs=1e-4)
    assert not fit_media(replace(rows, media=None), np.zeros(ROWS), 1.0).any()


def test_a_rare_kind_adds_less_than_was_seen_of_it() -> None:
    rows = planted()
    assert rows.media is not None
    rare = replace(rows, media=np.where(np.arange(ROWS) < 4, IMAGE, LINK).astype(np.int8))
    rare = replace(rare, values=np.where(rare.media == IMAGE, 1.0, 0.0))
    free, shrunken = (fit_media(rare, np.zeros(ROWS), penalty) for penalty in (1e-6, 40.0))
    assert 0 < shrunken[IMAGE] < 0.2 * free[IMAGE]


def test_what_the_text_says_already_is_not_added_again() -> None:
    rows = planted()
    media = fit_media(rows, rows.values, 1e-6)
    np.testing.assert_allclose(media, 0, atol=1e-9)


def test_the_model_of_texts_learns_nothing_of_media() -> None:
    rows = planted()
    with_media = fit_head(rows, PENALTIES)
    without = fit_head(rows, RidgePenalties(30.0))
    assert with_media.media.any()
    assert not without.media.any()
    text = score_rows(without.text, rows)
    np.testing.assert_array_equal(with_media.scores(replace(rows, media=None)), text)
    np.testing.assert_array_equal(with_media.scores(rows), text + with_media.media[rows.media])
    np.testing.assert_array_equal(head_scores(PENALTIES, rows, rows), with_media.scores(rows))
