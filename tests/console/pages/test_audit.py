"""The audit says who changed what, and offers the way back to those who may go it."""

import re
from collections.abc import Callable

import pytest

from builders.commands import CommandTopics
from builders.console_client import Answered, ConsoleClient
from builders.events import override
from feedmill.operations.changes import Change, MadeBy, write_change
from feedmill.streams.environment import Environment

People = dict[str, ConsoleClient]

pytestmark = pytest.mark.stack


def changed(environment: Environment, by: str, topic: str, key: str, value: str) -> None:
    made_by = MadeBy(by, "root", "box", "config set", "why")
    write_change(environment, made_by, Change(topic, key, value.encode(), None))


def keys_of(page: Answered) -> list[str]:
    assert page.status == 200, page.text
    rows = page.text.partition("<tbody>")[2].split("<tr")[1:]
    return [re.findall(r"<bdi>(.*?)</bdi>", row)[2] for row in rows]


def test_changes_are_found_by_person_subject_and_time_and_reverted(
    open_console: Callable[..., People], environment: Environment
) -> None:
    weights = '{"value": {"quality": %s, "engagement": 0.5}, "by": "ann"}'
    changed(environment, "ann", "config", "weights", weights % 0.2)
    changed(environment, "bob", "config", "weights", weights % 0.3)
    changed(environment, "ann", "config", "weights/lang:en", weights % 0.4)
    people = open_console()
    viewer, operator = people["viewer"], people["operator"]
    assert keys_of(viewer.get("/audit")) == ["weights/lang:en", "weights", "weights"]
    assert keys_of(viewer.get("/audit?by=bob")) == ["weights"]
    assert keys_of(viewer.get("/audit?subject=lang:en&since=1h")) == ["weights/lang:en"]
    assert "No change was recorded of these." in viewer.get("/audit?subject=gates").text
    wrong = viewer.get("/audit?since=soon")
    assert wrong.status == 422
    assert 'aria-describedby="since-error"' in wrong.text
    # Who may not revert is offered nothing; who may, the newest change of each setting.
    assert "/settings/undo" not in viewer.get("/audit").text
    offered = re.findall(
        r'action="/settings/undo".*?name="offset" value="(\d+)"', operator.get("/audit").text
    )
    assert len(offered) == 2
    reverted = operator.post("/settings/undo", [("offset", offered[1])])
    assert reverted.status == 200
    newest = (
        operator.get("/audit?subject=weights").text.partition("<tbody>")[2].partition("</tr>")[0]
    )
    assert "0.3" in newest.split("<td>")[4]
    assert "0.2" in newest.split("<td>")[5]


def test_overrides_in_force_are_listed_and_withdrawn(
    open_console: Callable[..., People], topics: CommandTopics
) -> None:
    topics.send("overrides", "author:eve|*", override("hide", by="bob", reason="ads"))
    topics.send("overrides", "post:p1|spam", override("allow", by="ann", post_offset=3))
    topics.send("overrides", "post:p2|*", override("hide", expires_at_ms=1))
    people = open_console()
    page = people["moderator"].get("/audit/overrides").text
    assert page.count('action="/overrides/withdraw"') == 2
    assert "version 3" in page
    assert "post:p2" not in page
    assert "author:eve" not in people["viewer"].get("/audit/overrides?subject=post").text
    assert "/overrides/withdraw" not in people["trainer"].get("/audit/overrides").text
