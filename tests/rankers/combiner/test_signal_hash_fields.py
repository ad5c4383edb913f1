"""Many posts in which the same changed are written as each alone."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmill.events.gates import GatePolicy
from feedmill.events.override import Override, OverrideKey, OverrideVerdict
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.events.signal import RULE_MODEL, Signal, SignalNames
from feedmill.rankers.combiner import signal_columns
from feedmill.rankers.combiner.signal_hash import EVERYTHING, fields_of
from feedmill.rankers.combiner.view import PostView

NAMES = SignalNames()
NOW_MS = 1_700_000_100_000
ARRIVED_MS = NOW_MS - 1000
THRESHOLD = 0.3  # As float32 it is higher; 0.9 is lower.
VALUES = st.one_of(
    st.sampled_from([None, 0.0, 1.0, 0.25, THRESHOLD, 0.9, 1e-5, 1e-30]), st.floats(0, 1, width=32)
)
SIGNALS = st.builds(
    Signal,
    post_id=st.just("p"),
    post_offset=st.sampled_from([3, 7]),
    value=VALUES,
    model=st.sampled_from([*NAMES.all, RULE_MODEL, "a@b"]),
    version=st.sampled_from(["56e6e21cd4ce", "v1"]),
    at_ms=st.integers(ARRIVED_MS - 5, NOW_MS),
    error=st.sampled_from([None, "", "no memory"]),
)
POSTS = st.lists(
    st.tuples(st.dictionaries(st.sampled_from(NAMES.all), SIGNALS), st.booleans()),
    min_size=1,
    max_size=20,
)
GATES = st.fixed_dictionaries(
    {
        name: st.builds(
            GatePolicy,
            enabled=st.booleans(),
            hide_at=st.sampled_from([None, 0.9]),
            demote_at=st.sampled_from([None, THRESHOLD]),
            on_failure=st.sampled_from(["closed", "open"]),
            grace_s=st.sampled_from([0.0, 1.0, 60.0]),
        )
        for name in NAMES.gates
    }
)


@given(
    posts=POSTS,
    gates=GATES,
    overrides=st.dictionaries(st.integers(0, 19), st.sampled_from(["allow", "demote", "hide"])),
    most_models=st.sampled_from([None, 2]),
)
def test_many_posts_are_written_as_each_alone(
    posts: list[tuple[dict[str, Signal], bool]],
    gates: dict[str, GatePolicy],
    overrides: dict[int, OverrideVerdict],
    most_models: int | None,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if most_models is not None:
            patch.setattr(signal_columns, "_MODEL", most_models + 1)
        view = PostView(NAMES)
        for i, (signals, has_new_version) in enumerate(posts):
            offset = 7 if has_new_version else 3
            for post_offset in sorted({3, offset}):
                post = Post(f"p{i}", f"a{i % 3}", ARRIVED_MS - i, "x")
                view.update_post(post, post_offset, ARRIVED_MS)
            for name, signal in signals.items():
                view.update_signal(name, msgspec.structs.replace(signal, post_id=f"p{i}"))
        for i, verdict in overrides.items():
            override = Override(verdict=verdict, by="x", reason="", at_ms=NOW_MS)
            view.update_override(OverrideKey("post", f"p{i}", "*"), override)
        rows = list(range(len(posts)))

        spam, quality = view.bits["spam"], view.bits["quality"]
        for mask in (EVERYTHING, spam, quality, spam | quality):
            alone = [fields_of(view, [row], mask, gates, NOW_MS) for row in rows]
            assert fields_of(view, rows, mask, gates, NOW_MS) == [fields for (fields,) in alone]


def test_many_posts_without_any_signal_are_written_as_each_alone() -> None:
    view, rows = PostView(NAMES), list(range(8))
    for row in rows:
        view.update_post(Post(f"p{row}", "a", ARRIVED_MS, "x"), 3, ARRIVED_MS)
    gates = dict.fromkeys(NAMES.gates, GatePolicy(enabled=False))
    assert fields_of(view, rows, view.bits["quality"], gates, NOW_MS) == [{}] * 8


def test_many_posts_with_all_signals_of_one_model_are_written_as_each_alone() -> None:
    view, gates = PostView(NAMES), Settings(NAMES).gates_of("")
    for i in range(100):
        view.update_post(Post(f"p{i}", f"a{i % 3}", ARRIVED_MS - i, "x"), i, ARRIVED_MS)
        for k, name in enumerate(NAMES.all):
            value = (i + k) / 107
            view.update_signal(name, Signal(f"p{i}", i, value, name, f"v{k}", NOW_MS + i))
    rows = [*range(99, -1, -1)]
    alone = [fields_of(view, [row], EVERYTHING, gates, NOW_MS)[0] for row in rows]
    assert {fields["quality"].split()[1] for fields in alone} == {"v3"}
    assert fields_of(view, rows, EVERYTHING, gates, NOW_MS) == alone
