"""The sources of `feedmill replay`, without a broker.  All rows here are made up."""

import csv
import gzip
import itertools
import os
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from feedmill.events.decode import decode_engagement, decode_post
from feedmill.events.engagement import Engagement
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.post import Post
from feedmill.events.signal import SignalNames
from feedmill.simulation.audience import RECENT, TRAITS, Audience, SimulatedPost
from feedmill.simulation.demo import SHARES, Demo, open_demo
from feedmill.simulation.replay.datasets import open_dataset
from feedmill.simulation.replay.inputs import (
    MAX_LINE_BYTES,
    lines_of_file,
    lines_of_stdin,
    open_file,
)
from feedmill.simulation.replay.lines import open_lines, parse_line
from feedmill.simulation.replay.options import Counts, ReplayOptions
from feedmill.simulation.replay.reactions import CAP, SPREAD_S, scale_to_mean
from feedmill.simulation.replay.record_times import with_send_time
from feedmill.simulation.schedule import EventSchedule, EventSource, OutgoingRecord, ScheduledEvent

REACTIONS = {"like", "reply", "share"}
NAMES = SignalNames()


def write_reddit(folder: Path, rows: int) -> None:
    draw = np.random.default_rng(7)
    header = ["id", "subreddit", "created_utc", "title", "selftext", "domain", "is_self"]
    header += ["over_18", "score", "ups", "downs", "num_comments", "subscribers"]
    with gzip.open(folder / "engagement_reddit_top.csv.gz", "wt", newline="") as handle:
        out = csv.writer(handle)
        out.writerow(header)
        for n in range(rows):
            own = n % 3 == 0
            ups = int(draw.pareto(1.2) * 100)
            out.writerow(
                (
                    f"id{n}",
                    f"sub{n * 6 // rows}",
                    "1.0",
                    f"Title {n}",
                    "Body\n" * own,
                    "",
                    own,
                    False,
                    ups,
                    ups,
                    0,
                    ups // 10,
                    5,
                )
            )


def write_bluesky(folder: Path, rows: int) -> None:
    header = ["uri", "author", "createdAt", "indexedAt", "text"]
    header += ["replyCount", "repostCount", "likeCount", "quoteCount"]
    with gzip.open(folder / "engagement_bluesky_a.csv.gz", "wt", newline="") as handle:
        out = csv.writer(handle)
        out.writerow(header)
        for n in range(rows):
            uri = f"at://did{n % 9}/app.bsky.feed.post/key{n}"
            text = f"See https://site{n}.example/a, " + "x" * (30_000 if n == 5 else 5)
            out.writerow([uri, f"a{n % 9}", "", "", text, n % 3, n % 2, n % 50, 0])


def dataset(name: str, folder: Path, seed: int = 0, **given: object) -> EventSource:
    settings = {"posts": 500, "rate": 100.0, "reactions": 5.0, "impressions": 5.0, "run": "r"}
    rng = np.random.default_rng(seed)
    return open_dataset(name, folder, rng=rng, **(settings | given))  # type: ignore[arg-type]


def demo(
    seed: int = 0, *, posts: int = 0, rate: float = 5.0, audience: float = 100.0
) -> EventSource:
    rng = np.random.default_rng(seed)
    return open_demo(posts=posts, rate=rate, audience=audience, run="r", rng=rng)


def decoded(events: Iterable[ScheduledEvent | None]) -> Iterator[tuple[float, Post | Engagement]]:
    """What a reader would see; every event passes the border, in the order it is due."""
    last = 0.0
    for timed in events:
        assert timed is not None
        assert timed.due_s >= last
        last = timed.due_s
        record = with_send_time(timed.event, 1_700_000_000_000)
        decode = decode_post if timed.topic == "posts" else decode_engagement
        event = decode(record.key, record.value)
        assert isinstance(event, Post | Engagement)
        yield timed.due_s, event


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_reddit(folder, 1200)
    write_bluesky(folder, 600)
    return folder


@pytest.mark.parametrize("name", ["reddit", "bluesky"])
def test_a_data_set_brings_its_posts_and_five_reactions_each(name: str, folder: Path) -> None:
    source = dataset(name, folder)
    posts: dict[str, float] = {}
    kinds: Counter[str] = Counter()
    by_post: defaultdict[str, Counter[str]] = defaultdict(Counter)
    ids, last = set(), 0.0
    for last, event in decoded(source.events):
        if isinstance(event, Post):
            posts[event.post_id] = last
            continue
        ids.add(event.event_id)
        kinds[event.kind] += 1
        by_post[event.post_id][event.kind] += 1
        assert posts[event.post_id] <= last <= posts[event.post_id] + SPREAD_S + 4.1
    assert source.posts == len(posts) == 500
    assert len(ids) == kinds.total()
    reactions = sum(kinds[kind] for kind in REACTIONS)
    assert reactions / 500 == pytest.approx(5.0, abs=0.2)
    for counts in by_post.values():
        assert counts["impression"] >= counts["click"] == sum(counts[k] for k in REACTIONS)
    most = max(sum(counts[k] for k in REACTIONS) for counts in by_post.values())
    assert 8 <= most <= CAP * 5
    assert last > 4.99


def test_reactions_follow_the_known_ones() -> None:
    known = np.array([0.0, 10.0, 20.0, 1e9])
    factor = scale_to_mean(known, 5.0)
    expected = np.minimum(CAP * 5, factor * known)
    assert expected.mean() == pytest.approx(5.0)
    assert expected[2] == pytest.approx(2 * expected[1])
    assert scale_to_mean(np.zeros(3), 5.0) == 0.0
    assert scale_to_mean(known, 0.0) == 0.0


def test_a_data_set_is_the_same_for_a_seed_and_mixed_across_the_file(folder: Path) -> None:
    first, again = (list(dataset("reddit", folder).events) for _ in range(2))
    assert first == again
    assert first != list(dataset("reddit", folder, seed=1).events)
    early = [e.event for e in first if e is not None and isinstance(e.event, Post)][:60]
    assert len({post.communities for post in early}) == 6


def test_a_reddit_post_is_made_of_its_row(folder: Path) -> None:
    events = [t.event for t in dataset("reddit", folder, posts=0).events if t is not None]
    posts = {event.post_id: event for event in events if isinstance(event, Post)}
    assert len(posts) == 1200
    post = posts["id3-r"]
    assert (post.text, post.lang, post.communities) == ("Title 3\n\nBody\n", "en", ("sub0",))
    assert post.links is None
    other = {t.event for t in dataset("reddit", folder, run="s").events if t is not None}
    authors = {e.post_id.removesuffix("-s"): e.author_id for e in other if isinstance(e, Post)}
    assert all(posts[f"{post_id}-r"].author_id == author for post_id, author in authors.items())


def test_a_bluesky_post_is_made_of_its_row(folder: Path) -> None:
    events = [t.event for t in dataset("bluesky", folder, posts=0).events if t is not None]
    posts = {event.post_id: event for event in events if isinstance(event, Post)}
    assert posts["did2.key2-r"].author_id == "a2"
    assert posts["did2.key2-r"].links == ("https://site2.example/a,",)
    assert len(posts["did5.key5-r"].text) == 20_000


def test_a_loop_goes_on_with_new_ids(folder: Path) -> None:
    source = dataset("bluesky", folder, posts=50, loop=True)
    posts = (e.event for e in source.events if e is not None and isinstance(e.event, Post))
    ids = [post.post_id for post in itertools.islice(posts, 160)]
    assert source.posts is None
    assert len(set(ids)) == 160


def test_a_missing_or_strange_data_set_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"FEEDMILL_DATA.*replay demo"):
        dataset("reddit", tmp_path)
    path = tmp_path / "engagement_reddit_top.csv.gz"
    path.write_bytes(b"no gzip")
    with pytest.raises(UsageError, match="cannot read"):
        dataset("reddit", tmp_path)
    path.write_bytes(gzip.compress(b"a,b\n1,2\n"))
    with pytest.raises(UsageError, match="not the file this preset knows"):
        dataset("reddit", tmp_path)


def test_the_demo_is_valid_steady_and_the_same_for_a_seed() -> None:
    events = list(decoded(itertools.islice(demo().events, 12_000)))
    assert events == list(decoded(itertools.islice(demo().events, 12_000)))
    assert events != list(decoded(itertools.islice(demo(1).events, 12_000)))
    kinds = Counter("post" if isinstance(e, Post) else e.kind for _, e in events)
    seconds = events[-1][0]
    assert kinds["post"] / seconds == pytest.approx(5.0, rel=0.02)
    assert (kinds.total() - kinds["post"]) / seconds == pytest.approx(100.0, rel=0.1)
    assert set(kinds) == {"post", "impression", "click", "dwell", "hide", "report", *REACTIONS}
    assert kinds["impression"] > kinds["click"] >= kinds["dwell"] > kinds["like"] > 0
    ids = [e.event_id for _, e in events if isinstance(e, Engagement)]
    assert len(set(ids)) == len(ids)


def test_the_demo_has_the_shares_it_states_and_writes_varied_posts() -> None:
    maker = Demo("r", np.random.default_rng(3))
    made = [maker.post(n) for n in range(3000)]
    kinds = Counter(truth.kind for _, truth in made)
    for kind, share in SHARES.items():
        assert kinds[kind] / 3000 == pytest.approx(share, abs=0.015)
    ordinary = [post.text for post, truth in made if truth.kind == "ordinary"]
    assert len(set(ordinary)) > 0.9 * len(ordinary)
    assert {post.lang for post, _ in made} == {"en", "de"}
    assert len({post.communities for post, _ in made}) == 6
    assert 180 <= len({post.author_id for post, _ in made}) <= 200
    assert not any("{" in post.text or "}" in post.text for post, _ in made)
    better = [t.quality > 0.62 for _, t in made if t.kind == "ordinary"]
    lengths = np.array([len(text) for text in ordinary])
    assert lengths[better].mean() > 2 * lengths[np.logical_not(better)].mean()


def test_the_audience_looks_from_the_top_and_falls_for_clickbait_without_liking_it() -> None:
    rng = np.random.default_rng(5)
    audience = Audience("r", 1, rng)
    kinds = list(TRAITS)
    truth = {}
    for n in range(200):
        truth[f"p{n}"] = kinds[n % len(kinds)]
        audience.publish(SimulatedPost(f"p{n}", kinds[n % len(kinds)], 0, "en", 0.5), 0.0)
    at: Counter[tuple[str, int | None]] = Counter()
    of: Counter[tuple[str, str]] = Counter()
    for visit in range(4000):
        for timed in audience.visit(visit * 0.001):
            event = timed.event
            assert isinstance(event, Engagement)
            at[event.kind, event.position] += 1
            of[event.kind, truth[event.post_id]] += 1
    assert at["click", 0] > 2 * at["click", 3] > 2 * at["click", 7] > 0
    rate = {k: of["click", k] / of["impression", k] for k in kinds}
    assert rate["clickbait"] > rate["ordinary"] > rate["spam"]
    liked = {k: of["like", k] / of["click", k] for k in kinds}
    assert liked["clickbait"] < 0.25 * liked["ordinary"]
    assert of["report", "spam"] > of["report", "ordinary"]


def test_the_demo_runs_for_ever_in_constant_memory() -> None:
    events = demo(rate=20.0, audience=200.0).events
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(4):
            for _ in itertools.islice(events, 14_000):
                pass
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # The agenda of pending clicks is full after its longest delay, 60 simulated seconds.
    assert sizes[3] < 1.25 * sizes[2]
    assert RECENT < 1000


def test_the_demo_ends_after_its_posts() -> None:
    events = [t for t in demo(posts=40, rate=0.0).events if t is not None]
    assert sum(t.topic == "posts" for t in events) == 40
    assert {t.due_s for t in events} == {0.0}


def test_an_agenda_hands_out_in_order() -> None:
    agenda = EventSchedule()
    agenda.add(ScheduledEvent(due, "posts", OutgoingRecord(b"k", None)) for due in (3.0, 1.0, 2.0))
    assert [t.due_s for t in agenda.until(2.5)] == [1.0, 2.0]
    assert [t.due_s for t in agenda.rest()] == [3.0]
    assert len(agenda) == 0


GOOD = {
    b'{"post_id":"a","author_id":"b","created_at_ms":5,"text":"t","more":1}': ("posts", Post),
    b'{"post_id":"a","user_id":"u","kind":"like","at_ms":5}': ("engagements", Engagement),
    b'{"topic":"engagements","key":"a","value":{"post_id":"a","user_id":"u","kind":"like",'
    b'"at_ms":5}}': ("engagements", Engagement),
    b'{"post_id":"a","deleted":true}': ("posts", OutgoingRecord),
    b'{"topic":"posts","key":"a","value":null}': ("posts", OutgoingRecord),
    b'{"topic":"overrides","key":"post:a|*","value":null}': ("overrides", OutgoingRecord),
    b'{"topic":"signals.spam","value":{"post_id":"a","post_offset":0,"value":0.5,"model":"m",'
    b'"version":"1","at_ms":5}}': ("signals.spam", OutgoingRecord),
}


@pytest.mark.parametrize("line", GOOD)
def test_a_line_is_recognised(line: bytes) -> None:
    timed = parse_line(line, NAMES)
    assert (timed.topic, type(timed.event)) == GOOD[line]
    again = with_send_time(timed.event, None)
    assert again.key == (b"post:a|*" if timed.topic == "overrides" else b"a")


BAD = {
    b"nothing": "malformed",
    b"[1]": "Expected `object`",
    b"\xff\xfe": "",
    b"[" * 100_000: "",
    b"{}": "none of these",
    b'{"topic":"posts"}': "missing required field `value`",
    b'{"topic":"posts","value":7}': "Expected `object`",
    b'{"topic":"posts","key":"x","value":{"post_id":"a","author_id":"b","created_at_ms":5,'
    b'"text":"t"}}': "Expected the record's key",
    b'{"topic":"config","key":"weights","value":{}}': "Expected a topic",
    b'{"topic":"signals.unknown","value":{"post_id":"a"}}': "Expected a topic",
    b'{"post_id":"a","user_id":"u","kind":"love","at_ms":5}': "Invalid enum value",
}


@pytest.mark.parametrize("line", BAD, ids=range(len(BAD)))
def test_a_bad_line_is_refused_with_the_reason(line: bytes) -> None:
    with pytest.raises(BadEvent) as error:
        parse_line(line, NAMES)
    assert BAD[line] in str(error.value)
    assert str(error.value)


def lines_file(folder: Path, *, bad: bool = False) -> Path:
    path = folder / "lines.jsonl.gz"
    lines = [b'{"post_id":"a%d","author_id":"b","created_at_ms":%d,"text":"t"}' % (n, n * 500)
             for n in range(6)]  # fmt: skip
    if bad:
        lines[2:2] = [b"", b"broken"]
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    return path


def due_times(path: Path, **given: object) -> list[float]:
    options = ReplayOptions(str(path), **given)  # type: ignore[arg-type]
    return [t.due_s for t in open_lines(options, NAMES, Counts()).events if t is not None]


def test_a_file_is_paced_by_count_by_its_times_or_not_at_all(tmp_path: Path) -> None:
    path = lines_file(tmp_path)
    assert due_times(path) == [0.0] * 6
    assert due_times(path, rate=10.0) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert due_times(path, speed=1.0) == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert due_times(path, posts=2) == [0.0, 0.0]


def test_bad_lines_are_counted_and_skipped_or_with_strict_nothing_is_sent(tmp_path: Path) -> None:
    path, counts = lines_file(tmp_path, bad=True), Counts()
    events = list(open_lines(ReplayOptions(str(path)), NAMES, counts).events)
    assert (len(events), counts.skipped) == (6, 1)
    assert counts.complaints[0].startswith("line 4: JSON is malformed")
    with pytest.raises(UsageError, match=r"1 bad lines, nothing was sent(.|\n)*line 4"):
        open_lines(ReplayOptions(str(path), strict=True), NAMES, Counts())
    good = ReplayOptions(str(lines_file(tmp_path)), strict=True)
    assert len(list(open_lines(good, NAMES, Counts()).events)) == 6


def test_a_line_that_is_too_long_is_one_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(b"x" * (2 * MAX_LINE_BYTES + 5) + b"\nshort\n")
    lines = list(lines_of_file(open_file(path)))
    assert [len(line) for line in lines] == [MAX_LINE_BYTES + 1, 6]


def test_a_broken_archive_is_a_clear_error(tmp_path: Path) -> None:
    path = lines_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UsageError, match="is the file whole"):
        list(lines_of_file(open_file(path)))


@pytest.mark.parametrize("packed", [False, True])
def test_standard_input_gives_lines_as_they_come(*, packed: bool) -> None:
    reading, writing = os.pipe()
    data = b"one\ntwo\nthree"
    lines = lines_of_stdin(reading)
    assert next(lines) is None
    os.write(writing, gzip.compress(data) if packed else data)
    os.close(writing)
    assert [line for line in lines if line is not None] == [b"one", b"two", b"three"]
    os.close(reading)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"rate": -1.0}, "rate: expected"),
        ({"speed": 0.0}, "speed: expected"),
        ({"speed": float("nan")}, "speed: expected"),
        ({"run": "a b"}, "run: expected"),
        ({"strict": True}, "are for files"),
        ({"loop": True}, "loop is for"),
    ],
)
def test_impossible_options_are_refused(given: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        ReplayOptions("demo", **given)  # type: ignore[arg-type]
