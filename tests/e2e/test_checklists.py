"""The checklists of CONTRIBUTING, each followed in a copy of the tree; test_own_filter has one."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from builders.engine import Engine
from builders.grown_tree import grow_tree, run_feedmill, run_python
from builders.training_data import sentences

COMMAND = '''"""`feedmill greet`: greets."""

import click


@click.command()
@click.option("--name", default="you", help="Whom to greet.")
def greet(name: str) -> None:
    """Greet somebody."""
    click.echo(f"hello {name}")
'''

RUN_COMMAND = """
from feedmill.cli.main import main
for words in (["greet", "--name", "Ada"], ["greet", "--help"], ["--help"]):
    main(words, standalone_mode=False)
"""

FEATURE = '''"""How often a text asks."""

import numpy as np

from feedmill.features.post_batch import FeatureGroup, FeatureMatrix, PostBatch


def question_matrix(batch: PostBatch) -> FeatureMatrix:
    """Return the number of question marks: (posts, 1)."""
    return np.array([[post.text.count("?")] for post in batch.posts], np.float32).reshape(-1, 1)


QUESTIONS = FeatureGroup("questions", ("question_marks",), question_matrix)
'''
READ_FEATURE = """
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.features.registry import FEATURE_GROUPS
posts = [Post("p", "a", 1, text) for text in ("why? how?", "so")]
print([*FEATURE_GROUPS], PostBatch(posts).computed(FEATURE_GROUPS["questions"].compute).tolist())
"""

RANKER = '''"""Kindness: the mean rating that people would give a text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.models.artifact import Artifact
from feedmill.models.text_model import FEATURES, LinearText, read_linear_text
from feedmill.models.text_model import Scores, TextModel
from feedmill.rankers.spec import RankerSpec


@dataclass(frozen=True)
class Kindness:
    """A linear model of a text, cut to [0, 1]."""

    name: str
    version: str
    rating: LinearText

    def score_many(self, posts: Sequence[Post]) -> Scores:
        return self.score_batch(PostBatch(posts))

    def score_batch(self, batch: PostBatch) -> Scores:
        return np.clip(self.rating.score(batch.text), 0.0, 1.0)

    @classmethod
    def of(cls, artifact: Artifact) -> "Kindness":
        return cls("kindness", artifact.version, read_linear_text(artifact, "rating"))


RANKER: RankerSpec[TextModel] = RankerSpec("kindness", FEATURES, Kindness.of)
'''
TRAINER = '''"""Trains kindness on `kindness.csv`: text, rating, author."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from feedmill.models.artifact import ModelCard, pack_artifact, save_artifact, sha256_of
from feedmill.models.text_model import FEATURES, linear_text_arrays
from feedmill.models.store_files import Store
from feedmill.training.fitting.linear_text import RidgePenalties, fit_with_scores, text_rows


def train(
    folder: Path, out: Store, day: str, own_ratings: Sequence[str] = (), keeps_rows: bool = True
) -> ModelCard:
    rows = list(csv.DictReader((folder / "kindness.csv").open()))
    values = np.array([float(row["rating"]) for row in rows])
    texts, authors = [row["text"] for row in rows], [row["author"] for row in rows]
    model, _ = fit_with_scores(text_rows(texts, values, authors), RidgePenalties(1.0))
    content = pack_artifact({"name": "kindness"}, FEATURES, linear_text_arrays({"rating": model}))
    summary, command = "How kind people find a text.", "feedmill train kindness --data DATA"
    card = ModelCard(
        "kindness", sha256_of(content), day, summary, len(FEATURES), [], {}, [], command
    )
    save_artifact(out, card, content)
    return card
'''


def test_a_command_is_one_file_and_one_line(tmp_path: Path) -> None:
    more = {"cli/main.py": ("COMMANDS = (\n", '    "greet",\n')}
    tree = grow_tree(tmp_path / "tree", {"cli/greet.py": COMMAND}, more)
    said = run_python(tree, "-c", RUN_COMMAND)
    assert "hello Ada\n" in said
    assert "Whom to greet." in said
    assert re.search("greet +Greet somebody.", said)


def test_a_feature_is_one_file_and_one_line(tmp_path: Path) -> None:
    registry = "features/registry.py"
    imported = "from feedmill.features.post_batch import FeatureGroup\n"
    tree = grow_tree(
        tmp_path / "tree",
        {"features/questions.py": FEATURE},
        {registry: (imported, "from feedmill.features.questions import QUESTIONS\n")},
    )
    path = tree / "feedmill" / registry
    path.write_text(
        path.read_text().replace("(LEXICON, PROFANITY)", "(LEXICON, PROFANITY, QUESTIONS)")
    )
    shown = run_python(tree, "-c", READ_FEATURE)
    assert shown == "['cues', 'profanity', 'questions'] [[2.0], [0.0]]\n"
    contract = Path(__file__).parents[1] / "features" / "test_registry.py"
    told = run_python(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(contract))
    assert "failed" not in told


@pytest.mark.stack
def test_a_ranker_is_two_files_and_two_lines(
    tmp_path: Path, start_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers = "training/trainers/registry.py"
    tree = grow_tree(
        tmp_path / "tree",
        {"rankers/kindness.py": RANKER, "training/trainers/kindness.py": TRAINER},
        {
            "rankers/registry.py": ('_TEXT_FILES = ("quality",', ' "kindness",'),
            trainers: (
                '    "engagement": engagement.train,\n',
                '    "kindness": kindness.train,\n',
            ),
        },
    )
    path = tree / "feedmill" / trainers
    path.write_text(
        path.read_text().replace("engagement, quality", "engagement, kindness, quality")
    )
    data, store = tree / "data", tree / "feedmill" / "rankers" / "artifacts"
    data.mkdir()
    kind, unkind = sentences(150, 1, "thank you, well done"), sentences(150, 2, "shut up, fool")
    with (data / "kindness.csv").open("w", newline="") as file:
        rows = [(text, 1.0, i % 40) for i, text in enumerate(kind)]
        rows += [(text, 0.0, i % 40) for i, text in enumerate(unkind)]
        csv.writer(file).writerows([("text", "rating", "author"), *rows])
    words = ["train", "kindness", "--data", str(data), "--out", str(store), "--no-snapshot"]
    run_feedmill(tree, *words)

    monkeypatch.setenv("PYTHONPATH", str(tree))
    engine: Engine = start_engine("kindness+combiner", signals="kindness:objective")
    weights = {"quality": 0.0, "engagement": 0.0, "kindness": 1.0}
    engine.wait_applied(engine.set("weights", weights))
    offsets = {
        name: engine.post(name, sentences(1, 98, extra)[0])
        for name, extra in (("rude", "shut up, fool"), ("kind", "thank you, well done"))
    }
    for name in ("spam", "nsfw", "misinformation"):
        for post_id, offset in offsets.items():
            engine.signal(name, post_id, offset, 0.0)
    decided = engine.wait_decided(offsets)
    assert engine.order() == ["kind", "rude"]
    values = [decided[name]["kindness"]["value"] for name in ("kind", "rude")]
    assert values[0] > 0.7
    assert values[1] < 0.3
