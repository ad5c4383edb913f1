"""How a post and its signals are written in `signals:<post_id>`: short, and readable by a person.

    post          1045 1795541438542 12         post_offset, created_ms, and arrived 12 ms later
    spam          0.0123 56e6e2 41              probability, version, ms after the post arrived
    spam          1.0 rule:casino-links 41      a rule of an operator decided
    quality       0.83 56e6e2 12 @1045          it judged another version of the post
    engagement    null 56e6e2 90                the model failed, see `engagement.error`

feedmill's own models have versions of twelve hexadecimal digits, of which six are written: they
name one among thousands, and `feedmill models show` takes them.  The signals in Kafka have all.

Redis keeps a hash as one compact string while no field is longer than 64 bytes: with five
signals some 360 bytes a post in all, and 1,100 otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec
import numpy as np
import numpy.typing as npt
import orjson

from feedmill.events.gates import GatePolicy
from feedmill.events.signal import RULE_MODEL
from feedmill.rankers.combiner.columns import NO_POST
from feedmill.rankers.combiner.gate_decisions import PASSED, Decision, decide_row, decide_rows
from feedmill.rankers.combiner.overrides import ActiveOverride
from feedmill.rankers.combiner.pending_writes import SignalsChange
from feedmill.rankers.combiner.signal_columns import StoredSignal, StoredSignals, short_version
from feedmill.rankers.combiner.view import POST_CHANGED, PostView

POST_FIELD = "post"
_RULE = f"{RULE_MODEL}:"
_ESCAPED_IN_MODELS = str.maketrans({"%": "%25", "@": "%40", ":": "%3A"})


# --- the version of a post -------------------------------------------------------------------
Fields = dict[str, str]

_encode = msgspec.json.Encoder().encode
EVERYTHING = -1  # a mask of all that may change
# With fewer posts plain Python is quicker than numpy.
_MANY_FROM = 8
_STRENGTH = {"hide": 0, "demote": 1, "allow": 2}


class PostVersion(NamedTuple):
    """A version of a post.

    Attributes
    ----------
    offset
        The offset of its record, -1 where nothing is known of the post.
    created_ms, arrived_ms
        The effective creation time and the timestamp of the record, in Unix milliseconds.
    """

    offset: int = -1
    created_ms: int = 0
    arrived_ms: int = 0


def encode_post(version: PostVersion) -> str:
    """The text of the field."""
    offset, created_ms, arrived_ms = version
    return f"{offset} {created_ms} {arrived_ms - created_ms}"


def encode_posts(
    offsets: npt.NDArray[np.int64],
    created_ms: npt.NDArray[np.int64],
    arrived_ms: npt.NDArray[np.int64],
) -> list[str]:
    """The texts of the field of many posts, each as `encode_post` writes it; all of shape (n,)."""
    after_ms = (arrived_ms - created_ms).tolist()
    columns = zip(offsets.tolist(), created_ms.tolist(), after_ms, strict=True)
    return [f"{offset} {at_ms} {after}" for offset, at_ms, after in columns]


def decode_post(fields: Mapping[str, str]) -> PostVersion:
    """Read the version of a post from its fields; one of offset -1 where the field is missing.

    Raises `ValueError` where the field is not of this form.
    """
    text = fields.get(POST_FIELD)
    if not text:
        return PostVersion()
    offset, created_ms, later_ms = map(int, text.split(" "))
    return PostVersion(offset, created_ms, created_ms + later_ms)


# --- its signals -----------------------------------------------------------------------------


def fields_of_signal(
    name: str, signal: StoredSignal | None, post_offset: int, arrived_ms: int
) -> dict[str, str]:
    """The fields of a signal, those that are not there as "": in a change they are removed.

    Parameters
    ----------
    name
        The signal's name; its model is not written where it is called the same.
    signal
        None where the post has none of this name.
    post_offset, arrived_ms
        The version of the post, and the timestamp of its record.
    """
    if signal is None:
        return {name: "", error_field(name): ""}
    text = encode_signal(name, signal, post_offset, arrived_ms)
    return {name: text, error_field(name): signal.error or ""}


def encode_signal(name: str, signal: StoredSignal, post_offset: int, arrived_ms: int) -> str:
    """The field of a signal without its error; the parameters are those of `fields_of_signal`."""
    value = _shortest(np.nan if signal.value is None else np.float32(signal.value))
    version = _version(name, signal.model, signal.version)
    text = f"{value} {version} {signal.at_ms - arrived_ms}"
    return text if signal.post_offset == post_offset else f"{text} @{signal.post_offset}"


def encode_signals(
    name: str,
    signals: StoredSignals,
    post_offsets: npt.NDArray[np.int64],
    arrived_ms: npt.NDArray[np.int64],
) -> list[str]:
    """The fields of a signal of one post or more, each as `encode_signal` writes it; "" for none.

    `post_offsets` and `arrived_ms` have shape (n,).
    """
    values = _shortest(signals.values)[1:-1].split(",")
    models, delays_ms = signals.models, (signals.at_ms - arrived_ms).tolist()
    first = models[0]
    if first is not None and models.count(first) == len(models):
        # All signals are of one model, as nearly always.
        version = _version(name, *first)
        columns = zip(values, delays_ms, strict=True)
        texts = [f"{value} {version} {delay_ms}" for value, delay_ms in columns]
    else:
        texts = [
            "" if model is None else f"{value} {_version(name, *model)} {delay_ms}"
            for value, model, delay_ms in zip(values, models, delays_ms, strict=True)
        ]
    for i in np.flatnonzero(signals.post_offsets != post_offsets).tolist():
        texts[i] = texts[i] and f"{texts[i]} @{signals.post_offsets[i]}"
    return texts


def _shortest(values: float | np.float32 | npt.NDArray[np.float32]) -> str:
    """As JSON: the shortest decimal numbers that read back as these float32, `null` for NaN."""
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def decode_signal(name: str, fields: Mapping[str, str]) -> StoredSignal | None:
    """Read the signal of a name from the fields of a post; None where there is none.

    Raises `ValueError` where a field is not of this form.
    """
    text = fields.get(name)
    if not text:
        return None
    value, _, rest = text.partition(" ")
    rest, _, last = rest.rpartition(" ")
    post = decode_post(fields)
    post_offset = post.offset
    if last.startswith("@"):
        post_offset = int(last[1:])
        rest, _, last = rest.rpartition(" ")
    model, version = _model_and_version(name, rest)
    return StoredSignal(
        value=None if value == "null" else float(np.float32(value)),
        model=model,
        version=version,
        post_offset=post_offset,
        at_ms=post.arrived_ms + int(last),
        error=fields.get(error_field(name)) or None,
    )


def error_field(name: str) -> str:
    """The field with the error of a signal; no signal can be called so."""
    return f"{name}.error"


# There are few versions, and as many calls as there are signals.
@lru_cache(maxsize=1024)
def _version(name: str, model: str, version: str) -> str:
    if model == RULE_MODEL:
        return _RULE + version
    version = short_version(version)
    if model == name and "@" not in version and not version.startswith(_RULE):
        return version
    return f"{model.translate(_ESCAPED_IN_MODELS)}@{version}"


def _model_and_version(name: str, text: str) -> tuple[str, str]:
    if text.startswith(_RULE):
        return RULE_MODEL, text.removeprefix(_RULE)
    model, at, version = text.partition("@")
    if not at:
        return name, text
    return unquote(model), version


def signals_changes(
    view: PostView,
    taken: Iterable[tuple[int, int, bool]],
    gates: Mapping[str, GatePolicy],
    kept_ms: int,
    now_ms: int,
) -> list[SignalsChange]:
    """What to write of rows, each with the mask of what changed and whether Redis has nothing.

    `gates` is the default policy; a post is kept for so long after its creation.
    """
    offset, created_ms = view.post.offset.item, view.post.created_ms.item
    rows_by_mask: dict[int, list[int]] = {}
    for row, mask, is_unwritten in taken:
        if offset(row) == NO_POST:
            continue  # `Combiner.rank_changes` has not come to its deletion yet
        # A field of a signal leaves out what the post says itself: a new version is all new.
        changed = EVERYTHING if is_unwritten or mask & POST_CHANGED else mask
        rows_by_mask.setdefault(changed, []).append(row)
    return [
        SignalsChange(
            view.ids[row], created_ms(row) + kept_ms, mask == EVERYTHING, fields, offset(row)
        )
        for mask, rows in rows_by_mask.items()
        for row, fields in zip(rows, fields_of(view, rows, mask, gates, now_ms), strict=True)
    ]


def fields_of(
    view: PostView, rows: Sequence[int], mask: int, gates: Mapping[str, GatePolicy], now_ms: int
) -> list[Fields]:
    """The fields of posts in which the same changed, ready for Redis; "" removes a field.

    `mask` says what changed (`PostView.changed`); of a post in which `EVERYTHING` did no field is
    "".  `gates` is the default policy, under which `decision` stands.  The decision is among the
    fields if a gate's signal, an override or a setting changed, or if the grace of an open gate
    may have ended meanwhile; objectives do not decide.
    """
    if len(rows) >= _MANY_FROM:
        return _fields_of_many(view, np.array(rows, np.int32), mask, gates, now_ms)
    each = [_fields_of_one(view, row, mask, gates, now_ms) for row in rows]
    if mask != EVERYTHING:
        return each
    return [{name: text for name, text in fields.items() if text} for fields in each]


def _is_decided(view: PostView, mask: int, gates: Mapping[str, GatePolicy]) -> bool:
    has_open_gate = any(g.required and g.on_failure == "open" for g in gates.values())
    return bool(mask & view.deciding) or has_open_gate


def _fields_of_one(
    view: PostView, row: int, mask: int, gates: Mapping[str, GatePolicy], now_ms: int
) -> Fields:
    fields: Fields = {}
    post_offset, arrived_ms = int(view.post.offset[row]), int(view.post.arrived_ms[row])
    for name, bit in view.written.items():
        if mask & bit:
            signal = view.signals[name].get(row, post_offset)
            fields |= fields_of_signal(name, signal, post_offset, arrived_ms)
    if mask & POST_CHANGED:
        created_ms = int(view.post.created_ms[row])
        fields[POST_FIELD] = encode_post(PostVersion(post_offset, created_ms, arrived_ms))
        fields["author_id"] = view.author_of(row)
        overridden = view.is_overridden(row)
        fields["override"] = _override(view, row, tuple(gates), now_ms) if overridden else ""
    if _is_decided(view, mask, gates):
        fields |= _decided(decide_row(view, row, gates, now_ms))
    return fields


def _fields_of_many(
    view: PostView,
    rows: npt.NDArray[np.int32],
    mask: int,
    gates: Mapping[str, GatePolicy],
    now_ms: int,
) -> list[Fields]:
    post, is_whole = view.post, mask == EVERYTHING
    offsets, arrived_ms = post.offset[rows], post.arrived_ms[rows]
    columns: dict[str, Sequence[str]] = {}
    for name, bit in view.written.items():
        if mask & bit:
            found = view.signals[name].get_many(rows, offsets)
            columns[name] = encode_signals(name, found, offsets, arrived_ms)
            if found.errors or not is_whole:
                columns[error_field(name)] = [found.errors.get(i, "") for i in range(len(rows))]
    if is_whole:
        columns[POST_FIELD] = encode_posts(offsets, post.created_ms[rows], arrived_ms)
        columns["author_id"] = view.authors.read_many(post.author[rows])
        if len(view.overrides):
            names = tuple(gates)
            is_overridden = view.overridden.among(rows, post.author).tolist()
            columns["override"] = [
                _override(view, row, names, now_ms) if is_one else ""
                for row, is_one in zip(rows.tolist(), is_overridden, strict=True)
            ]
    is_decided = _is_decided(view, mask, gates)
    if is_decided and not is_whole:
        columns |= dict.fromkeys(_decided(PASSED), [""] * len(rows))
    # Without a column no post ever had one of these signals: there is nothing to write.
    of_posts = zip(*columns.values(), strict=True) if columns else [()] * len(rows)
    # Most posts have all signals; to ask about each field takes twice the time.
    if not is_whole or all(map(all, columns.values())):
        fields = [dict(zip(columns, of_post, strict=True)) for of_post in of_posts]
    else:
        fields = [
            {name: value for name, value in zip(columns, of_post, strict=True) if value}
            for of_post in of_posts
        ]
    for place, decision in decide_rows(view, rows, gates, now_ms) if is_decided else ():
        decided = _decided(decision)
        fields[place] |= {key: value for key, value in decided.items() if value or not is_whole}
    return fields


def _decided(decision: Decision) -> Fields:
    # Most posts are shown: without the field a hash is four percent smaller.
    shown = "" if decision.name == "show" else decision.name
    return {"decision": shown, "decided_by": decision.decided_by}


def _override(view: PostView, row: int, gates: tuple[str, ...], now_ms: int) -> str:
    """The strongest override in force as JSON, others beside it under `others`; "" for none."""
    in_force = list(dict.fromkeys(view.overrides_of(row, gates, now_ms).values()))
    if not in_force:
        return ""
    in_force.sort(key=lambda active: _STRENGTH[active.override.verdict])
    first, *others = map(_as_dict, in_force)
    return _encode({**first, "others": others} if others else first).decode()


def _as_dict(active: ActiveOverride) -> dict[str, Any]:
    return {
        "subject": active.key.subject,
        "gate": active.key.gate,
        **msgspec.to_builtins(active.override),
    }
