from dataclasses import replace

import numpy as np

from builders.training_data import labelled, ordinary, sentences
from feedmill.training.datasets.everyday_sentences import everyday_sentences
from feedmill.training.datasets.labelled_posts import LabelledRow, labelled_posts
from feedmill.training.fitting.filters import _weights, fit
from feedmill.training.recipes import RECIPES

BY_GROUP = replace(RECIPES["nsfw"], by_group=True, inverse_penalty=0.03)
BY_ROW = replace(BY_GROUP, by_group=False)
NONE = everyday_sentences(0, 1)


def test_by_group_a_group_weighs_as_the_root_of_its_size() -> None:
    sizes = {"one": 1, "four": 4, "nine": 9}
    rows = [
        LabelledRow(text, float(is_bad), group)
        for is_bad in (True, False)
        for (group, size) in sizes.items()
        for text in sentences(size, size + 100 * is_bad)
    ]
    part = labelled_posts("set", "set", rows)
    groups, is_bad = np.array(part.groups), part.labels == 1
    weights = _weights(BY_GROUP, [part], [], [], NONE)
    of_group = [weights[is_bad & (groups == f"set|{name}")].sum() for name in sizes]
    np.testing.assert_allclose(np.array(of_group) / of_group[0], [1, 2, 3])
    assert np.isclose(weights.mean(), 1)
    assert np.isclose(weights[is_bad].sum(), weights[~is_bad].sum())
    assert len(set(_weights(BY_ROW, [part], [], [], NONE))) == 1


def test_by_group_one_loud_group_tells_less() -> None:
    loud = [
        LabelledRow(f"{text} zebra", 1.0, "loud") for text in sentences(60, 5, "BUY pills NOW!!!")
    ]
    quiet = labelled("set", 1)
    both = labelled_posts(
        "set",
        "set",
        [
            *loud,
            *(
                LabelledRow(post.text, label, group)
                for post, label, group in zip(quiet.posts, quiet.labels, quiet.groups, strict=True)
            ),
        ],
    )
    probe = labelled_posts("probe", "probe", [LabelledRow("river stone zebra", 0.0, "p")])
    plain = labelled_posts("probe", "probe", [LabelledRow("river stone winter", 0.0, "p")])
    gained = []
    for recipe in (BY_ROW, BY_GROUP):
        model = fit(recipe, [both], [ordinary("one", 3)]).model("nsfw", "")
        scores = np.concatenate([model.score_many(rows.posts) for rows in (probe, plain)])
        odds = np.log(scores / (1 - scores)) / model.calibrator.slope
        known = [model.score_many(quiet.where(quiet.labels == k).posts[:20]) for k in (1, 0)]
        assert known[0].min() > known[1].max()
        gained.append(odds[0] - odds[1])
    assert gained[1] < gained[0] / 1.5


def test_everyday_sentences_weigh_what_the_recipe_gives_them() -> None:
    part, made = labelled("set", 1), everyday_sentences(20, 1)
    weights = _weights(replace(BY_GROUP, everyday_weight=0.1), [part], [], [], made)
    assert np.isclose(weights[len(part) :].sum(), 0.1 * weights[: len(part)].sum())
