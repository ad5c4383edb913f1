"""Models are released by forms as by commands, and by nobody who has not seen the last change."""

import html
import re
from collections.abc import Callable

import pytest

from builders.commands import CommandTopics
from builders.console_client import Answered, ConsoleClient
from feedmill.console.pages import models
from feedmill.events.decode import decode_release
from feedmill.streams.releases.loading import MODELS, shipped_sha256

People = dict[str, ConsoleClient]

pytestmark = pytest.mark.stack


@pytest.fixture(autouse=True)
def _nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_ANSWERS_S", 0.2)


def expect_of(page: Answered) -> list[tuple[str, str]]:
    found = re.search(r'name="expect" value="(-?\d+)"', page.text)
    assert found is not None
    return [("expect", found[1])]


def test_a_trainer_freezes_and_unfreezes_and_sees_it(
    open_console: Callable[..., People], topics: CommandTopics
) -> None:
    people = open_console()
    trainer, version = people["trainer"], shipped_sha256("spam")[:12]
    first = trainer.get("/models/spam")
    assert f"{version}, in force, shipped" in first.text
    assert 'action="/models/spam/release"' not in people["moderator"].get("/models/spam").text
    given = [*expect_of(first), ("note", "a <b>quiet</b> week")]
    frozen = trainer.post("/models/spam/freeze", given)
    assert frozen.status == 200
    assert f"spam: {version} released at offset 0" in frozen.text
    page = trainer.get("/models/spam")
    assert "Frozen by <bdi>a trainer</bdi>: <bdi>a &lt;b&gt;quiet&lt;/b&gt; week</bdi>" in page.text
    refused = trainer.post("/models/spam/rollback", expect_of(page))
    assert refused.status == 422
    assert "`spam` is frozen at" in refused.text
    again = trainer.post("/models/spam/freeze", given)
    assert again.status == 409
    text = html.unescape(again.text)
    assert f"`spam` was changed meanwhile: frozen {version} by a trainer at " in text
    assert trainer.post("/models/spam/unfreeze", expect_of(page)).status == 200
    [(_, one), (_, last)] = [
        decode_release(MODELS, record.key, record.value) for record in topics.read("models")
    ]
    assert one is not None
    assert last is not None
    assert (one.frozen, one.by, last.frozen) == (True, "a trainer", False)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"version": "abcdef"}, "abcdef"),
        ({"canary": "many"}, "canary: expected a number of partitions, got 'many'"),
        ({"canary": "7"}, "--canary 7: `posts` has 2 partitions"),
        ({"after": "soon"}, "expected a duration such as 90s, 30m, 2h or 7d, got 'soon'"),
    ],
)
def test_a_release_that_cannot_be_is_refused_and_what_was_typed_stays(
    open_console: Callable[..., People], topics: CommandTopics, given: dict[str, str], text: str
) -> None:
    trainer = open_console()["trainer"]
    fields = [("expect", "-1"), ("note", "better & newer"), *given.items()]
    page = trainer.post("/models/spam/release", fields)
    assert page.status == 422
    assert text in html.unescape(page.text)
    assert 'value="better &amp; newer"' in page.text
    assert topics.read("models") == []


def test_an_unknown_model_is_told_with_the_nearest(open_console: Callable[..., People]) -> None:
    people = open_console()
    page = people["viewer"].get("/models/sapm")
    assert (page.status, "did you mean `spam`?" in page.text) == (404, True)
    assert people["trainer"].post("/models/sapm/freeze").status == 404
    assert people["viewer"].get("/models").headers["location"] == f"/models/{MODELS[0]}"
