"""What pages change is what commands would write, by who signed in; and it can be taken back."""

import html
import re
from collections.abc import Callable
from typing import Any

import pytest

from builders.commands import CommandTopics, FakeStage
from builders.console_client import Answered, ConsoleClient
from builders.events import override, post
from builders.hostile_markup import HOSTILE, markup_of
from builders.written_redis import WrittenRedis
from feedmill.console.logs import Logs
from feedmill.console.pages import actions
from feedmill.events.audit import decode_audit
from feedmill.events.decode import decode_override
from feedmill.events.override import Override
from feedmill.events.signal import SignalNames
from feedmill.streams.environment import Environment
from feedmill.streams.settings.config_log import ConfigLog, fold_log

People = dict[str, ConsoleClient]
OpenConsole = Callable[..., People]

pytestmark = pytest.mark.stack


@pytest.fixture(autouse=True)
def _no_combiner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "_VISIBLE_S", 0.2)


def fields(words: str, *feeds: str, note: str = "", **expect: int) -> list[tuple[str, str]]:
    """The fields of the form that applies a preview; `__` in a name is `/`."""
    named = [(key.replace("__", "/"), offset) for key, offset in expect.items()]
    return [
        ("words", words),
        ("note", note),
        *(("feed", feed) for feed in feeds),
        *(("expect", f"{key}={offset}") for key, offset in named),
    ]


def offsets_in(answer: Answered) -> list[tuple[str, str]]:
    assert answer.status == 200, answer.text
    return [
        ("offset", offset) for offset in re.findall(r'name="offset" value="(\d+)"', answer.text)
    ]


def said(answer: Answered) -> str:
    """What a page says in its alert."""
    found = re.search(r'id="problem"[^>]*>(.*?)</p>', answer.text, re.DOTALL)
    assert found is not None, answer.text
    return html.unescape(re.sub(r"<[^>]*>", "", found[1]))


def config_of(topics: CommandTopics) -> ConfigLog:
    return fold_log(topics.read("config"), SignalNames())


def audited(topics: CommandTopics) -> list[dict[str, Any]]:
    rows = [decode_audit(record.value) for record in topics.read("audit")]
    return [
        {"by": row.by, "command": row.command, "key": row.key, "note": row.note} for row in rows
    ]


# --- settings --------------------------------------------------------------------------------


def test_weights_and_gates_of_feeds_are_set_together_and_each_instance_answers(
    open_console: OpenConsole, topics: CommandTopics, stage: Callable[..., FakeStage]
) -> None:
    stage("combiner/1")
    stage("spam/2", refuses="not <b>me</b>")
    operator = open_console()["operator"]
    words = "alpha=0.2 beta=0.8 spam.hide_at=0.8"
    keys = {
        f"{kind}__{feed}": -1 for kind in ("weights", "gates") for feed in ("global", "lang:en")
    }
    answer = operator.post(
        "/settings", fields(words, "global", "lang:en", note="less bait", **keys)
    )
    assert len(offsets_in(answer)) == 4
    assert "applied" in answer.text
    assert "not &lt;b&gt;me&lt;/b&gt;" in answer.text
    log = config_of(topics)
    assert log.written_value("weights/lang:en") == {"quality": 0.2, "engagement": 0.8}
    assert log.written_value("gates/global") == {"spam": {"hide_at": 0.8}}
    assert {row["by"] for row in audited(topics)} == {"a operator"}
    assert {row["note"] for row in audited(topics)} == {"less bait"}
    undone = operator.post("/settings/undo", offsets_in(answer))
    assert undone.status == 200
    assert [*config_of(topics).settings.offsets] == []


def test_undo_brings_the_value_back_that_was_in_force(
    open_console: OpenConsole, topics: CommandTopics
) -> None:
    operator = open_console()["operator"]
    first = operator.post("/settings", fields("alpha=0.2", "", weights=-1))
    offset = int(offsets_in(first)[0][1])
    second = operator.post("/settings", fields("alpha=0.9", "", weights=offset))
    assert operator.post("/settings/undo", offsets_in(second)).status == 200
    assert config_of(topics).settings.weights_of("").objectives["quality"] == 0.2


def test_a_setting_that_changed_meanwhile_is_told_and_nothing_is_written(
    open_console: OpenConsole, topics: CommandTopics
) -> None:
    value = {"value": {"quality": 0.7, "engagement": 0.3}, "by": "bob", "note": "more depth"}
    operator = open_console()["operator"]
    topics.send("config", "weights/global", value)
    answer = operator.post("/settings", fields("alpha=0.2", "global", weights__global=-1))
    assert answer.status == 409
    text = said(answer)
    assert "`weights/global` was changed meanwhile by bob at " in text
    assert '(more depth); now in force: {"quality":0.7,"engagement":0.3}' in text
    assert len(topics.read("config")) == 1
    undone = operator.post("/settings/undo", [("offset", "0")])
    assert undone.status == 200  # it is in force, whoever wrote it
    assert operator.post("/settings/undo", [("offset", "0")]).status == 409


def test_a_change_between_the_look_and_the_record_is_told_too(
    open_console: OpenConsole, topics: CommandTopics, environment: Environment
) -> None:
    class SlowLogs:
        """Sees what bob writes only after the page has looked."""

        looks = 0

        def config(self) -> ConfigLog:
            self.looks += 1
            return config_of(topics) if self.looks > 1 else fold_log([], environment.signals)

    operator = open_console({Logs: SlowLogs()})["operator"]
    topics.send("config", "weights/global", {"value": {"quality": 1, "engagement": 0}, "by": "bob"})
    answer = operator.post("/settings", fields("alpha=0.2", "global", weights__global=-1))
    assert (answer.status, "by bob" in said(answer)) == (409, True)
    assert config_of(topics).settings.weights_of("global").objectives["quality"] == 1


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("alpha=-2", "refused, nothing was sent: Expected `float` >= 0.0 - at `$.value.quality`"),
        ("alpha=much", "alpha: expected a number, such as 0.2, got 'much'"),
        ("alpha", "expected JSON or name=value pairs, such as alpha=0.2, got 'alpha'"),
        ("spam.hide_at=2", "refused, nothing was sent: Expected `float` <= 1.0"),
        ("", "nothing changes; give a value, and the feeds that it is for"),
    ],
)
def test_a_refused_value_has_the_sentence_of_the_command(
    open_console: OpenConsole, topics: CommandTopics, words: str, text: str
) -> None:
    operator = open_console()["operator"]
    given = fields(words, "global", weights__global=-1, gates__global=-1)
    answer = operator.post("/settings", given, HX_Request="true")
    assert answer.status == 422
    assert text in said(answer)
    assert topics.read("config") == []


def test_what_a_page_did_not_show_is_not_changed(
    open_console: OpenConsole, topics: CommandTopics
) -> None:
    operator = open_console()["operator"]
    answer = operator.post("/settings", fields("alpha=0.2", "global", weights=-1))
    assert (answer.status, "no offset of `weights/global`" in said(answer)) == (422, True)
    for wrong in ([("offset", "x")], [], [("offset", "7")]):
        assert operator.post("/settings/undo", wrong).status == 422
    assert topics.read("config") == []


# --- overrides -------------------------------------------------------------------------------


def decide(client: ConsoleClient, subject: str, verdict: str, **more: str) -> Answered:
    given = {"subject": subject, "verdict": verdict, "post_offset": "0", **more}
    return client.post("/overrides", [*given.items()])


def overrides_of(topics: CommandTopics) -> list[tuple[str, Override | None]]:
    found = []
    for record in topics.read("overrides"):
        key, one = decode_override(SignalNames(), record.key, record.value)
        found.append((str(key), one))
    return found


def test_a_moderator_decides_with_reason_and_end_and_takes_it_back(
    open_console: OpenConsole, topics: CommandTopics, writer: WrittenRedis
) -> None:
    writer.signals("p1", post_offset=0)
    moderator = open_console()["moderator"]
    hidden = decide(moderator, "post:p1", "hide", reason="buy now", expires="2h")
    [(key, one)] = overrides_of(topics)
    assert key == "post:p1|*"
    assert one is not None
    assert (one.verdict, one.by, one.reason) == ("hide", "a moderator", "buy now")
    assert one.expires_at_ms == one.at_ms + 7_200_000
    assert one.post_offset is None
    shown = decide(moderator, "post:p1", "allow", gate="spam")
    _, allowed = overrides_of(topics)[-1]
    assert allowed is not None
    assert allowed.post_offset == 0
    for answer in (hidden, shown):
        assert moderator.post("/overrides/undo", offsets_in(answer)).status == 200
    assert [(key, one) for key, one in overrides_of(topics)][2:] == [
        ("post:p1|*", None),
        ("post:p1|spam", None),
    ]
    assert [row["by"] for row in audited(topics)] == ["a moderator"] * 4


def test_undo_of_an_override_brings_back_the_one_before(
    open_console: OpenConsole, topics: CommandTopics
) -> None:
    people = open_console()
    before = override("demote", by="bob", reason="half", at_ms=1)
    topics.send("overrides", "author:eve|*", before)
    answer = decide(people["moderator"], "author:eve", "hide")
    assert people["operator"].post("/overrides/undo", offsets_in(answer)).status == 200
    assert overrides_of(topics)[-1] == ("author:eve|*", before)


def test_who_decided_meanwhile_is_told(open_console: OpenConsole, topics: CommandTopics) -> None:
    people = open_console()
    first = decide(people["moderator"], "author:eve", "hide")
    second = decide(people["operator"], "author:eve", "allow", reason="a friend")
    answer = people["moderator"].post("/overrides/undo", offsets_in(first))
    assert answer.status == 409
    assert "author:eve was decided meanwhile: allow by a operator at " in said(answer)
    assert "(a friend)" in said(answer)
    wanted = [("subject", "author:eve"), ("expect", offsets_in(first)[0][1])]
    assert people["moderator"].post("/overrides/withdraw", wanted).status == 409
    in_force = offsets_in(second)[0][1]
    wanted = [("subject", "author:eve"), ("expect", in_force), ("reason", "over")]
    assert people["moderator"].post("/overrides/withdraw", wanted).status == 200
    assert overrides_of(topics)[-1] == ("author:eve|*", None)
    assert people["moderator"].post("/overrides/withdraw", wanted).status == 409


def test_a_decision_is_about_the_version_that_was_shown(
    open_console: OpenConsole, topics: CommandTopics, writer: WrittenRedis
) -> None:
    moderator = open_console()["moderator"]
    text = "now <i>with</i> a bargain"
    for said_before in ("a walk", text):
        offset = topics.send("posts", "p1", post("p1", said_before), partition=None)
    writer.signals("p1", post_offset=offset)
    answer = decide(moderator, "post:p1", "allow")
    assert answer.status == 409
    assert f"post `p1` was edited meanwhile, and says now: {text}" in said(answer)
    assert topics.read("overrides") == []
    assert decide(moderator, "post:p1", "allow", post_offset=str(offset)).status == 200


@pytest.mark.parametrize(
    ("changed", "status", "text"),
    [
        ({"verdict": "delete"}, 422, "verdict: expected hide, demote or allow, got 'delete'"),
        ({"expires": "soon"}, 422, "expected a duration such as 90s, 30m, 2h or 7d, got 'soon'"),
        ({"subject": "p1"}, 422, "Expected `post:<post_id>` or `author:<author_id>`, got 'p1'"),
        ({"gate": "quality"}, 422, "quality"),
        ({"reason": "x" * 5001}, 422, "Expected `str` of length <= "),
        ({"post_offset": "new"}, 422, "expected an offset, got 'new'"),
        ({"subject": "post:nobody"}, 404, "there is no post `nobody`"),
    ],
)
def test_a_decision_that_is_none_is_refused(
    open_console: OpenConsole,
    topics: CommandTopics,
    writer: WrittenRedis,
    changed: dict[str, str],
    status: int,
    text: str,
) -> None:
    writer.signals("p1", post_offset=0)
    given = {"subject": "post:p1", "verdict": "hide", **changed}
    answer = decide(open_console()["moderator"], **given)
    assert (answer.status, text in said(answer)) == (status, True), said(answer)
    assert topics.read("overrides") == []


def test_hostile_ids_authors_and_reasons_stay_text(
    open_console: OpenConsole, topics: CommandTopics
) -> None:
    moderator = open_console()["moderator"]
    for number, text in enumerate(HOSTILE):
        author = re.sub(r"[\s|\x00-\x1f]", "", text)
        decided = decide(moderator, f"author:{author}{number}", "hide", reason=text)
        assert decided.status in (200, 422)
        assert markup_of(text, decided.text) == []
    topics.send("config", HOSTILE[0], {"value": {HOSTILE[1]: 1}, "by": HOSTILE[2]})
    for path in ("/audit", "/audit/overrides"):
        page = moderator.get(path)
        assert page.status == 200
        for text in HOSTILE:
            assert markup_of(text, page.text) == []
        # JSON spells a quote and a control character otherwise.
        assert HOSTILE[0] in html.unescape(page.text)
        assert HOSTILE[6] in html.unescape(page.text)
