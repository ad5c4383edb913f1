"""The process of the view answers the newest question of each page, and ends when nobody asks."""

from multiprocessing import Pipe
from typing import Any

import msgspec
import pytest

from feedmill.console.view_messages import Answer, AuthorAsk, PreviewAsk, Question, Reading
from feedmill.console.view_process import serve
from feedmill.events.settings import Settings
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.environment import declared_signals


class FakeFollowed:
    """An empty view, restored or not, that counts how often somebody drags."""

    def __init__(self, reading: Reading | None = None) -> None:
        names = declared_signals("")
        self.view, self.partitions = PostView(names), 4
        self.settings_log = self
        self.settings = Settings(names=names)
        self.reading, self.late, self.pauses, self.follows = reading, "", 0, 0

    def pause(self) -> None:
        self.pauses += 1

    def follow(self) -> int:
        self.follows += 1
        return 0


def answers_of(followed: FakeFollowed, *questions: Question) -> list[Answer]:
    mine, its = Pipe()
    for question in questions:
        mine.send_bytes(msgspec.msgpack.encode(question))
    serve(its, followed, idle_s=0.05)  # type: ignore[arg-type]  # has what is asked of it
    its.close()
    found = []
    while mine.poll(0):
        try:
            found.append(msgspec.msgpack.decode(mine.recv_bytes(), type=Answer))
        except EOFError:
            break
    return found


def test_of_each_page_the_newest_question_is_answered() -> None:
    asked = [Question(n, page, AuthorAsk("a")) for n, page in enumerate(("one", "two", "one"))]
    followed = FakeFollowed()
    assert sorted(one.number for one in answers_of(followed, *asked)) == [1, 2]
    assert followed.pauses == 0 and followed.follows > 1


def test_the_view_stands_still_while_somebody_drags() -> None:
    followed = FakeFollowed()
    found = answers_of(followed, Question(0, "one", PreviewAsk("global", dragging=True)))
    assert followed.pauses == 1 and found[0].refusal == ""


def test_a_view_that_is_being_read_says_how_far_it_is() -> None:
    reading = Reading("posts", 3, 4)
    (found,) = answers_of(FakeFollowed(reading), Question(0, "one", AuthorAsk("a")))
    assert found.reading == reading


@pytest.mark.parametrize(("changes", "said"), [((), ""), ((("weights/global", {}),), "quality")])
def test_a_refusal_is_the_answer(changes: Any, said: str) -> None:
    (found,) = answers_of(FakeFollowed(), Question(0, "one", PreviewAsk("global", changes)))
    assert said in found.refusal and bool(found.refusal) == bool(said)
