"""All who see the same preview share the answer of the view; who may not see it gets none."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from builders.console_client import Answered, ConsoleClient
from builders.running_console import NOWHERE, ConsoleOf, running
from feedmill.console import shared, view
from feedmill.console.access import Access
from feedmill.console.feeds import Feeds
from feedmill.console.logs import Logs
from feedmill.streams.environment import declared_signals
from feedmill.streams.settings.config_log import fold_log
from feedmill.streams.tokens import VIEWER, TokenFile

VIEWERS = 10
LISTS = "/feeds/global/preview/lists"
# A view that says which question it answers, as how far it is read.
VIEW = """
import sys
from multiprocessing.connection import Connection
import msgspec
from feedmill.console.view_messages import Answer, Question, Reading
pipe, count = Connection(int(sys.argv[1])), 0
while True:
    try:
        question = msgspec.msgpack.decode(pipe.recv_bytes(), type=Question)
    except EOFError:
        break
    count += 1
    answer = Answer(question.number, reading=Reading("posts", count, 1000))
    pipe.send_bytes(msgspec.msgpack.encode(answer))
"""


class KnownFeed:
    """The feed `global`, without settings of its own: nobody asks Kafka or Redis."""

    def config(self) -> object:
        return fold_log([], declared_signals(""))

    def names(self) -> list[str]:
        return ["global"]


class Viewers:
    """People who are signed in, and what time the console's cache thinks it is."""

    def __init__(self, client: ConsoleClient, tokens: TokenFile, clock: SimpleNamespace) -> None:
        self.stranger, self.clock = client, clock
        self.people = [ConsoleClient(client.port) for _ in range(VIEWERS)]
        for number, one in enumerate(self.people):
            assert one.sign_in_by_token(tokens.add(f"viewer {number}", VIEWER))

    def ask_at_once(self, *paths: str) -> list[Answered]:
        """Each viewer asks for one of the paths, in turn, all of them together."""
        wanted = [paths[number % len(paths)] for number in range(VIEWERS)]
        with ThreadPoolExecutor(VIEWERS) as threads:
            return list(threads.map(ConsoleClient.get, self.people, wanted))


def questions(answers: list[Answered]) -> list[int]:
    """The numbers of the questions that were answered, each once."""
    assert {one.status for one in answers} == {200}
    return sorted({int(one.text.split(" of 1,000 records")[0].split()[-1]) for one in answers})


@pytest.fixture
def viewers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Viewers]:
    program, clock = tmp_path / "view.py", SimpleNamespace(now_s=100.0)
    program.write_text(VIEW, "utf-8")
    monkeypatch.setattr(view, "_COMMAND", (sys.executable, str(program)))
    monkeypatch.setattr(shared, "time", SimpleNamespace(monotonic=lambda: clock.now_s))
    tokens, known = TokenFile(tmp_path / "tokens.json"), KnownFeed()
    parts = {Logs: known, Feeds: known}
    with running(ConsoleOf(NOWHERE, Access(tokens), parts)) as client:
        yield Viewers(client, tokens, clock)


@pytest.mark.parametrize(
    "paths",
    [
        ("/feeds/global/preview",),
        (LISTS, f"{LISTS}?tab=weights", f"{LISTS}?tab_id=5&of=mine"),
        (f"{LISTS}?quality=0.7&engagement=0.25", f"{LISTS}?engagement=0.250&quality=0.70"),
        (f"{LISTS}?tab=gates&spam.hide_at=0.5", f"{LISTS}?spam.hide_at=0.50&tab=gates"),
    ],
    ids=["opened", "polled", "weights", "gates"],
)
def test_ten_viewers_of_a_preview_ask_one_question_a_second(
    viewers: Viewers, paths: tuple[str, ...]
) -> None:
    for second in range(3):
        assert questions(viewers.ask_at_once(*paths)) == [second + 1]
        viewers.clock.now_s += 1.0


def test_other_values_feeds_and_tabs_have_answers_of_their_own(viewers: Viewers) -> None:
    paths = (LISTS, f"{LISTS}?quality=0.7", f"{LISTS}?quality=0.6", f"{LISTS}?tab=gates")
    first = viewers.ask_at_once(*paths)
    assert questions(first) == [1, 2, 3, 4]
    again = viewers.ask_at_once(*paths)
    assert [one.text for one in again] == [one.text for one in first]


def test_rights_are_checked_before_a_shared_answer(viewers: Viewers) -> None:
    assert questions(viewers.ask_at_once(LISTS)) == [1]
    assert viewers.stranger.get(LISTS, HX_Request="true").status == 401
    assert viewers.people[0].post("/sign-out").status == 303
    assert viewers.people[0].get(LISTS, HX_Request="true").status == 401
    assert viewers.people[1].get(f"{LISTS[:-6]}/apply").status == 403
    assert questions([viewers.people[1].get(LISTS)]) == [1]


def test_who_drags_is_answered_at_once_and_alone(viewers: Viewers) -> None:
    paths = [f"{LISTS}?drag=1&tab_id={number}" for number in range(VIEWERS)]
    assert len(questions(viewers.ask_at_once(*paths))) == VIEWERS
