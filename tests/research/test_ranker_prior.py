"""What trees add to the prior of engagement, on headline tests whose answer is planted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ranker_figures import RankerEvaluation
from ranker_prior import Heads, evaluate_prior

from builders.ranker_datasets import write_headline_tests, write_reactions
from feedmill.training.datasets.headline_tests import Arms, read_arms
from feedmill.training.datasets.reactions import REDDIT
from feedmill.training.fitting.engagement import fit_reaction_heads
from feedmill.training.ranker_recipes import ENGAGEMENT

RECIPE = replace(ENGAGEMENT, heads=(ENGAGEMENT.heads[0], ENGAGEMENT.heads[2]))


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> tuple[Arms, Heads]:
    folder: Path = tmp_path_factory.mktemp("data")
    write_headline_tests(folder, by_text=False)
    write_reactions(folder)
    return read_arms(folder), fit_reaction_heads(RECIPE, {"reply": REDDIT.load(folder, "reply")})


def evaluated(arms: Arms, heads: Heads) -> RankerEvaluation:
    evaluation = RankerEvaluation("engagement", None)
    evaluate_prior(arms, RECIPE, heads, evaluation)
    return evaluation


def test_trees_show_their_gain_where_no_sum_of_columns_finds_it(read: tuple[Arms, Heads]) -> None:
    arms, heads = read
    random = np.random.default_rng(6)
    marks = random.integers(0, 2, (len(arms), 2))
    texts = [
        f"{'7 ' * a}{t}{' ?' * b}" for t, (a, b) in zip(arms.texts, marks.tolist(), strict=True)
    ]
    clicks = random.binomial(arms.impressions, np.where(marks[:, 0] != marks[:, 1], 0.03, 0.01))
    evaluation = evaluated(replace(arms, texts=texts, clicks=clicks), heads)
    order, losses = evaluation.bars
    assert order.figure.low > 0.2
    assert losses.figure.high < 0
    trees, stages = evaluation.sections
    assert [row[0] for row in trees.rows] == ["linear sum", "with trees", "difference"]
    # The arms have 3,000 impressions, too few to judge by the rest after 2,000.
    assert [row[0] for row in stages.rows] == ["0", "100", "500"]
