"""Two readers beside a worker, asked over HTTP; what they say against Redis and the contract."""

import http.client
import json
import socket
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from builders.contract_score import ranking
from builders.engine import READER, WORKER, Engine
from builders.examples import load_example
from builders.judged_pages import Logs
from builders.waiting import now_ms, until

pytestmark = pytest.mark.stack

BOUNDS = {
    "weights": {"engagement": [0, 2], "quality": [0, 2]},
    "costs": {"hide": [0, 16]},
    "half_life_hours": [6, 168],
    "adjust": [-8, 2],
}
# The posts that are hidden stand at the top until then.
UP = {"authors": {f"h{n}": 2 for n in range(60)}}
POSTS = [f"p{n}" for n in range(120)]
AUTHORS = [f"a{n}" for n in range(30)]


@pytest.fixture(scope="module")
def engine(start_shared_engine: Any) -> Engine:
    engine: Engine = start_shared_engine(WORKER)
    engine.start(READER, tag="-1")
    engine.start(READER, tag="-2")
    for number, post_id in enumerate(POSTS):
        engine.post(post_id, author_id=AUTHORS[number % 30], communities=[f"c{number % 4}"])
    offset = engine.set("readers/global", BOUNDS)
    engine.wait_ready(seconds=120)
    engine.wait_applied(offset)
    for number, post_id in enumerate(POSTS[:40]):
        for user in range(number):
            event = {"post_id": post_id, "user_id": f"u{user}", "at_ms": now_ms()}
            engine.send("engagements", post_id, {**event, "kind": "impression"})
            if user % 3 == 0:
                engine.send("engagements", post_id, {**event, "kind": "click"})
    engine.wait_decided(POSTS)
    return engine


def ask(
    engine: Engine, name: str, body: Any, feed: str = "global", **headers: str
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(
        "127.0.0.1", engine.port_of(engine.workers[name]), timeout=20
    )
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.request("POST", f"/v1/feeds/{feed}", data, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def page(engine: Engine, name: str, **body: Any) -> dict[str, Any]:
    """A page; on a busy machine a reader may shed requests, which are sent again."""
    for _ in range(20):
        status, answer = ask(engine, name, body)
        if status != 503:
            break
        time.sleep(0.1)
    assert status == 200, answer
    return answer


def order(answer: dict[str, Any]) -> list[str]:
    return [post["post_id"] for post in answer["posts"]]


def test_at_rest_pages_are_what_redis_and_the_formula_say(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = load_example("check_page", monkeypatch)

    def is_at_rest() -> bool:
        pages = [page(engine, name, count=100) for name in ("reader-1", "reader-2")]
        entries = engine.feed()[0]
        said = [[(p["post_id"], p["score"]) for p in one["posts"]] for one in pages]
        return len(entries) > 80 and said == [entries[:100]] * 2 and not pages[0]["stale"]

    until(is_at_rest, 60)
    truths, (_, info) = engine.truths(), engine.feed()
    random = Random(1)
    for _ in range(200):
        own = {"engagement": random.choice((0.1, 2)), "quality": random.choice((0.5, 1.5))}
        authors = random.sample(AUTHORS, k=random.randrange(1, 30))
        answer = page(
            engine, random.choice(("reader-1", "reader-2")), weights=own, authors=authors, count=100
        )
        assert check.complaints(answer) == []
        weights = {**json.loads(info["weights"]), **own}
        of_authors = {p: t for p, t in truths.items() if t["author_id"] in authors}
        wanted = ranking(of_authors, {**info, "weights": json.dumps(weights)})
        assert order(answer) == [post_id for post_id, _ in wanted]
        for post, (_, score) in zip(answer["posts"], wanted, strict=True):
            assert abs(post["score"] - score) <= 1e-9


def test_no_page_whose_offsets_lie_behind_a_hide_shows_the_post(engine: Engine) -> None:
    posts = [f"hide-{n}" for n in range(60)]
    for n, post_id in enumerate(posts):
        engine.post(post_id, author_id=f"h{n}", text="an evening by the river")
    engine.wait_decided(posts)

    def hide() -> None:
        for n, post_id in enumerate(posts):
            verdict = {"verdict": "hide", "by": "mo", "reason": "", "at_ms": now_ms()}
            if n % 4 == 0:
                engine.post(post_id, author_id=f"h{n}", text=f"wheel of luck {n}")
            elif n % 4 == 1:
                engine.send("posts", post_id, None)
            else:
                subject = f"post:{post_id}|*" if n % 4 == 2 else f"author:h{n}|*"
                engine.send("overrides", subject, verdict).get(20)
            if n == 30:
                engine.set(
                    "rules/spam", {"luck": {"verdict": "hide", "phrases": ["wheel of luck"]}}
                )
            engine.post(f"new-{n}", author_id=f"n{n}")
            engine.click(f"p{n}", "w")

    def gone(answers: list[dict[str, Any]]) -> bool:
        return not any({*posts}.intersection(order(answer)) for answer in answers)

    hiding = threading.Thread(target=hide)
    hiding.start()
    answers, end = list[dict[str, Any]](), time.monotonic() + 60
    while hiding.is_alive() or not gone(answers[-2:]):
        assert time.monotonic() < end
        for name in ("reader-1", "reader-2"):
            answers.append(page(engine, name, count=100, offsets=True, adjust=UP))
    hiding.join()
    logs = Logs(engine)
    assert [said for answer in answers for said in logs.complaints(answer)] == []


def test_no_page_has_the_old_weights_once_a_setting_is_applied(engine: Engine) -> None:
    for engagement in (0.9, 0.2, 0.5):
        offset = engine.set("weights/global", {"quality": 0.5, "engagement": engagement})
        engine.wait_applied(offset)
        for name in ("reader-1", "reader-2"):
            answer = page(engine, name)
            assert answer["weights"]["engagement"] == engagement
            assert answer["config_offset"] >= offset


def test_walks_go_on_while_a_reader_is_killed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = load_example("reader_client", monkeypatch).ReaderClient
    for _ in range(2):
        ports = [engine.port_of(engine.workers[name]) for name in ("reader-1", "reader-2")]
        readers = client([f"http://127.0.0.1:{port}" for port in ports], within_s=20)
        walks: list[list[str]] = []
        before = {*order(page(engine, "reader-1", count=50))}
        for number in range(12):
            shown, cursor = list[str](), None
            for _ in range(10):
                more: dict[str, Any] = {} if cursor is None else {"cursor": cursor}
                answer = readers.page("global", count=8, **more)
                shown += order(answer)
                cursor = answer["cursor"]
                if number == 3 and len(shown) == 16:
                    engine.workers["reader-2"].kill()
                if cursor is None:
                    break
            walks.append(shown)
        after = {*order(page(engine, "reader-1", count=50))}
        assert all(len(walk) == len({*walk}) for walk in walks)
        # What was among the first 50 before and after all walks is in each walk of 80.
        assert len(before & after) > 30
        assert all(before & after <= {*walk} for walk in walks)
        engine.restart("reader-2")
        engine.wait_ready("reader-2")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "ends too early"),
        (b'{"count": 5', 400, "ends too early"),
        (b"[" * 100_000, 400, "got `array`"),
        (b'{"weights": {"engagement": NaN}}', 400, "malformed"),
        (b'{"weights": {"engagement": 2.5}}', 400, "from 0 to 2, got 2.5 - at `$.weights.eng"),
        (b'{"weights": {"engagement": 0, "quality": 0}}', 400, "at least one weight above 0"),
        (b'{"costs": {"report": 1}}', 400, "Expected hide"),
        (b'{"half_life_hours": 1}', 400, "from 6 to 168, got 1"),
        (b'{"half_life_hours": null}', 400, "`$.half_life_hours`"),
        (b'{"adjust": {"authors": {"a1": 9}}}', 400, "from -8 to 2, got 9"),
        (
            json.dumps({"authors": [f"a{n}" for n in range(5001)]}).encode(),
            400,
            "<= 5000, got 5001 -",
        ),
        (b'{"count": 101}', 400, "<= 100, got 101 - at `$.count`"),
        (b'{"user_id": "\\ud800"}', 400, "surrogate"),
        (b'{"user_id": "\xed\xa0\x80"}', 400, "in UTF-8, got the byte 0xed"),
        (b'{"weights": {"engagement": 2.0000001}}', 400, "from 0 to 2, got 2.0000001 -"),
        (b'{"cursor": "bm9uZQ=="}', 400, "$.cursor"),
        (b'{"cursor": "\xff"}', 400, "UTF-8"),
        (b'{"counts": 5}', 400, "did you mean `count`?"),
        (b" " * 300_000, 413, "262144"),
    ],
)
def test_bad_input_is_refused(engine: Engine, body: bytes, status: int, said: str) -> None:
    found, answer = ask(engine, "reader-1", body)
    assert (found, said in answer["error"]) == (status, True), answer


def test_compressed_bodies_and_feeds_without_a_setting_are_refused(engine: Engine) -> None:
    headers = {"Content-Encoding": "gzip"}
    assert ask(engine, "reader-1", b"{}", **headers)[0] == 415
    status, answer = ask(engine, "reader-1", {}, "community:c1")
    assert (status, "readers/<feed>" in answer["error"]) == (404, True)


def test_slow_senders_hold_nobody(engine: Engine) -> None:
    port = engine.port_of(engine.workers["reader-1"])
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    for one in slow:
        one.sendall(b"POST /v1/feeds/global HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert len(page(engine, "reader-1")["posts"]) == 50
    assert b"408" in slow[0].recv(100)
    for one in slow:
        one.close()


def test_tokens_have_rates_and_are_needed_off_loopback(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    added = engine.feedmill(f"token add web --role reader --rate 5 --tokens {file}")
    secret = added.stdout.strip()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(engine.variables, "FEEDMILL_READER_TOKENS", str(file))
        engine.start(READER, tag="-3")
        engine.wait_ready("reader-3")
    assert ask(engine, "reader-3", {})[0] == 401
    assert ask(engine, "reader-3", {}, Authorization="Bearer wrong")[0] == 401
    found = [ask(engine, "reader-3", {}, Authorization=f"Bearer {secret}")[0] for _ in range(30)]
    assert {*found} == {200, 429}
    refused = engine.feedmill("reader --host 0.0.0.0 --port 0")
    assert refused.returncode == 1
    assert "listens on loopback alone" in refused.stderr
    engine.workers["reader-3"].stop()
    shown = json.loads(engine.feedmill("health --json").stdout)
    assert "reader" in {stage for worker in shown["workers"] for stage in worker["stages"]}


def test_the_command_shows_terms(engine: Engine) -> None:
    url = f"http://127.0.0.1:{engine.port_of(engine.workers['reader-1'])}"
    shown = engine.feedmill(f"page global --reader {url} --author a1 --weights alpha=.2 --json")
    answer = json.loads(shown.stdout)
    assert {post["author_id"] for post in answer["posts"]} == {"a1"}
    assert answer["weights"]["quality"] == 0.2
    table = engine.feedmill(f"page global --reader {url} --top 3")
    assert len(table.stdout.splitlines()) == 5
    wrong = engine.feedmill(f"page global --reader {url} --weights alpha=7")
    assert (wrong.returncode, "from 0 to 2, got 7" in wrong.stderr) == (1, True)
