from feedmill.training.datasets.everyday_sentences import everyday_sentences


def test_sentences_are_different_fine_and_of_the_training_split() -> None:
    rows = everyday_sentences(300, 1)
    assert len(set(rows.texts)) == len(rows) == 300
    assert not rows.labels.any()
    assert set(rows.splits.tolist()) == {"train"}
    assert len({post.post_id for post in rows.posts}) == 300


def test_the_same_seed_gives_the_same_sentences() -> None:
    assert everyday_sentences(50, 1).texts == everyday_sentences(50, 1).texts
    assert everyday_sentences(50, 1).texts != everyday_sentences(50, 2).texts
    assert len(everyday_sentences(0, 1)) == 0


def test_every_slot_of_every_pattern_is_filled() -> None:
    rows = everyday_sentences(2_000, 3)
    assert len(set(rows.groups)) == 38
    assert not any("<" in text or ">" in text for text in rows.texts)
    assert all(text[0].isupper() or text[0].isdigit() for text in rows.texts)
