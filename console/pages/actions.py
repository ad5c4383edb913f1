"""What pages change: settings and overrides, each with undo.

Forms of other pages post here.  An answer is a part of a page where htmx asks, else a page.

`POST /settings`, for operators, sets weights and gates of feeds in one transaction:

    words   as `config set` and `weights preview` take them, `alpha=0.2 spam.hide_at=0.8`
    feed    of which feed; "" for the settings that feeds inherit; may be repeated
    expect  `weights/global=12`: the offset that the page showed, -1 for none; one for each setting
            that changes, and for any other that must not have changed meanwhile
    note    why

`POST /overrides`, for moderators: `subject` (`post:<id>`, `author:<id>`), `verdict` (hide, demote,
allow), `gate` ("*" unless given), `reason`, `expires` ("", 30m, 2h, 7d), and of a post the
`post_offset` that the page showed: after an edit the answer is 409 with the new text.

`POST /overrides/withdraw`: `subject`, `gate`, `expect`, the offset of the override, `reason`.

`POST /settings/undo` and `POST /overrides/undo`: `offset`, repeated, of records that are in force,
and what was in force before each of them is written again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args

import msgspec
from aiohttp import web

from feedmill.console.feeds import Feeds
from feedmill.console.logs import Logs
from feedmill.console.routes import Conflict, Route, Visit
from feedmill.events.errors import UsageError
from feedmill.events.override import Override, OverrideKey, OverrideVerdict
from feedmill.operations.changes import AwaitedChange, Change, MadeBy, write_changes
from feedmill.operations.overrides import (
    LastOverride,
    override_key,
    verdict_record,
    visible_after_ms,
    withdrawal_record,
)
from feedmill.operations.setting_changes import (
    parse_setting_value,
    setting_record,
    setting_warnings,
    words_by_setting,
)
from feedmill.operations.times import parse_duration, time_text
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.config_log import ConfigLog
from feedmill.streams.tokens import MODERATOR, OPERATOR

_SETTING_S = 15.0
_VISIBLE_S = 5.0


# --- settings -----------------------------------------------------------------------------------


def _set(visit: Visit) -> web.Response:
    log, names = visit.console.part(Logs).config(), visit.console.environment.signals
    words = " ".join(visit.form.getall("words", [])).split()
    feeds = visit.form.getall("feed", [])
    if not words or not feeds:
        raise UsageError("nothing changes; give a value, and the feeds that it is for")
    expected = _expected(visit.form.getall("expect", []))
    _check_offsets(log, expected)
    made_by, records = visit.made_by(visit.form.get("note", "")), []
    for feed in feeds:
        for path, words_of_key in words_by_setting(words, feed, names.gates):
            key = path if feed else path.rstrip("/")
            if key not in expected:
                raise UsageError(f"`expect` has no offset of `{key}`; reload the page")
            value = parse_setting_value(log, key, words_of_key)
            records.append(setting_record(log, key, value, made_by))
    return _write_settings(visit, log, made_by, records)


def _undo_settings(visit: Visit) -> web.Response:
    log, records = visit.console.part(Logs).config(), []
    offsets = _offsets(visit)
    made_by = visit.made_by(f"undo of {', '.join(map(str, offsets))}")
    for offset in offsets:
        entry = next((one for one in log.entries if one.offset == offset), None)
        if entry is None:
            raise UsageError(f"`config` has no record at offset {offset}")
        _check_offsets(log, {entry.key: offset})
        earlier = [one for one in log.history(entry.key) if one.applied and one.offset < offset]
        value = earlier[-1].value if earlier else None
        records.append(setting_record(log, entry.key, value, made_by))
    return _write_settings(visit, log, made_by, records)


def _write_settings(
    visit: Visit, log: ConfigLog, made_by: MadeBy, records: Sequence[Change]
) -> web.Response:
    warnings = [warning for record in records for warning in setting_warnings(log, record)]
    written = AwaitedChange(visit.console.environment, made_by, _SETTING_S).write(records)
    after = visit.console.part(Logs).config()
    placed = list(zip(records, written.places, strict=True))
    refused = {entry.offset for entry in after.entries if not entry.applied}
    for record, place in placed:
        if place.offset in refused:
            # Another change came between the page's check and the record.
            _check_offsets(after, {record.key: log.settings.offsets.get(record.key, -1)})
    return visit.page(
        "settings_written.html", placed=placed, answers=written.answers, warnings=warnings
    )


def _expected(given: Iterable[str]) -> dict[str, int]:
    """Return by setting the offset that the page showed."""
    expected = {}
    for one in given:
        key, _, offset = one.rpartition("=")
        try:
            expected[key] = int(offset)
        except ValueError:
            raise UsageError(f"expect: expected as weights=12, got {one!r}") from None
    return expected


def _check_offsets(log: ConfigLog, expected: dict[str, int]) -> None:
    """Raise `Conflict` where a setting in force is another one than the page showed."""
    for key, offset in expected.items():
        if log.settings.offsets.get(key, -1) == offset:
            continue
        entry = log.current(key)
        last = entry or next(reversed(log.history(key)), None)
        who = "" if last is None else f" by {last.by or 'somebody'} at {time_text(last.at_ms)}"
        note = f" ({last.note})" if last is not None and last.note else ""
        value = "nothing" if entry is None else msgspec.json.encode(entry.value).decode()
        raise Conflict(
            f"`{key}` was changed meanwhile{who}{note}; now in force: {value}. Nothing was written:"
            " reload the page to see the change, and apply yours again"
        )


# --- overrides ----------------------------------------------------------------------------------


def _override(visit: Visit) -> web.Response:
    form, environment = visit.form, visit.console.environment
    key = override_key(environment.signals, form.get("subject", ""), form.get("gate") or "*")
    last = visit.console.part(Logs).overrides().get(key)
    made_by, at_ms = visit.made_by(form.get("reason", "")), now_ms()
    wanted = override_of(form.get("verdict", ""), made_by, at_ms, lasts_ms(form.get("expires", "")))
    if key.kind == "post":
        offset = number_of(form.get("post_offset", ""))
        visit.console.part(Feeds).check_version(key.id, offset)
        if wanted.verdict == "allow":
            wanted = msgspec.structs.replace(wanted, post_offset=offset)
    change = verdict_record(environment.signals, key, wanted, last.value if last else None)
    written = write_changes(environment, made_by, [change])
    ms = visible_after_ms(
        environment, key, _VISIBLE_S, lambda shown: any(one["at_ms"] == at_ms for one in shown)
    )
    said = [(key, wanted.verdict, written[0].offset)]
    return visit.page("override_written.html", said=said, visible_ms=ms)


def _undo_overrides(visit: Visit) -> web.Response:
    offsets = _offsets(visit)
    made_by = visit.made_by(f"undo of {', '.join(map(str, offsets))}")
    changes = [undo_of(visit, offset, made_by) for offset in offsets]
    written = write_changes(visit.console.environment, made_by, [change for _, change in changes])
    said = [
        (key, "as before", place.offset) for (key, _), place in zip(changes, written, strict=True)
    ]
    return visit.page("override_written.html", said=said, visible_ms=None)


def _withdraw(visit: Visit) -> web.Response:
    form, names = visit.form, visit.console.environment.signals
    key = override_key(names, form.get("subject", ""), form.get("gate") or "*")
    last = visit.console.part(Logs).overrides().get(key)
    if last is None or last.offset != number_of(form.get("expect", "")):
        raise _decided_meanwhile(key, last)
    made_by = visit.made_by(form.get("reason", ""))
    change = withdrawal_record(key, made_by, last.value)
    written = write_changes(visit.console.environment, made_by, [change])
    said = [(key, "withdrawn", written[0].offset)]
    return visit.page("override_written.html", said=said, visible_ms=None)


def undo_of(visit: Visit, offset: int, made_by: MadeBy) -> tuple[OverrideKey, Change]:
    """Return the record that restores what was in force before the override at an offset.

    Raises `Conflict`: somebody decided again since.
    """
    logs, names = visit.console.part(Logs), visit.console.environment.signals
    rows = [row.said for row in logs.audit() if row.said.topic == "overrides"]
    said = next((one for one in rows if one.offset == offset), None)
    if said is None or said.key is None:
        raise UsageError(f"the audit has no override at offset {offset}")
    subject, _, gate = said.key.rpartition("|")
    key = override_key(names, subject, gate)
    last = logs.overrides().get(key)
    newest = next(one for one in rows if one.key == said.key)
    if newest.offset != offset or (last is not None and last.offset != offset):
        raise _decided_meanwhile(key, last)
    value = None if last is None else last.value
    before = said.before
    if isinstance(before, dict) and "verdict" in before:
        restored = msgspec.convert(before, Override)
        if restored.expires_at_ms is None or restored.expires_at_ms > now_ms():
            return key, verdict_record(names, key, restored, value)
    return key, withdrawal_record(key, made_by, value)


def _decided_meanwhile(key: OverrideKey, last: LastOverride | None) -> Conflict:
    what = "withdrawn"
    if last is not None:
        one = last.override
        what = f"{one.verdict} by {one.by} at {time_text(one.at_ms)}"
        what += f" ({one.reason})" if one.reason else ""
    return Conflict(f"{key.subject} was decided meanwhile: {what}. Nothing was written")


def override_of(verdict: str, made_by: MadeBy, at_ms: int, lasts: int | None) -> Override:
    """Return an override of a verdict that a form names; raises `UsageError`."""
    for one in get_args(OverrideVerdict):
        if one == verdict:
            until_ms = None if lasts is None else at_ms + lasts
            return Override(one, made_by.by, made_by.note, at_ms, until_ms)
    raise UsageError(f"verdict: expected hide, demote or allow, got {verdict!r}")


def lasts_ms(text: str) -> int | None:
    """Return how long an override is in force, None for ever; raises `UsageError`."""
    if not text.strip():
        return None
    found = parse_duration(text.strip())
    if found is None:
        raise UsageError(f"expected a duration such as 90s, 30m, 2h or 7d, got {text!r}")
    return found


def _offsets(visit: Visit) -> list[int]:
    offsets = [number_of(text) for text in visit.form.getall("offset", [])]
    if not offsets:
        raise UsageError("nothing to undo: give the offset of a record")
    return offsets


def number_of(text: str) -> int:
    """Return an offset that a form has; raises `UsageError`."""
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"expected an offset, got {text!r}; reload the page") from None


ROUTES = (
    Route("POST", "/settings", OPERATOR, _set),
    Route("POST", "/settings/undo", OPERATOR, _undo_settings),
    Route("POST", "/overrides", MODERATOR, _override),
    Route("POST", "/overrides/withdraw", MODERATOR, _withdraw),
    Route("POST", "/overrides/undo", MODERATOR, _undo_overrides),
)
