"""What is wrong with settings and overrides: refused ones, and those that name what is gone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches

from feedmill.events.decode import decode_override
from feedmill.events.errors import BadEvent
from feedmill.events.settings import KINDS
from feedmill.operations.doctor.finding import Finding
from feedmill.operations.doctor.installation import Installation
from feedmill.streams.settings.config_log import ConfigEntry

# Overrides may be hundreds of thousands.
_NEWEST_OVERRIDES = 1_000


def refused_records(inst: Installation) -> Iterator[Finding]:
    """The last record of each key of `config` was applied."""
    entries = inst.config.entries
    last = {entry.key: entry for entry in entries}
    newest_applied = max((entry.offset for entry in entries if entry.applied), default=-1)
    for key, entry in last.items():
        is_known = key.partition("/")[0] in KINDS
        # Nothing can be written under a key of no setting: whatever is applied since outdates it.
        if entry.applied or (not is_known and entry.offset < newest_applied):
            continue
        kind, _, name = key.partition("/")
        if kind == "experiments" and name in inst.config.settings.experiments:
            continue  # what it began with is in force; the name of one that ended takes no other
        yield Finding(
            "refused records",
            "wrong",
            f"the last record is refused, so what was before is in force: {entry.refusal}",
            f"setting `{key}`, offset {entry.offset}" + (f", by {entry.by}" if entry.by else ""),
            _way_out(inst, entry, is_known=is_known),
        )


def _way_out(inst: Installation, entry: ConfigEntry, *, is_known: bool) -> str:
    missing = re.search(r"(?:declared gate|unknown field).*?[`'](\w+)[`']", entry.refusal or "")
    name = missing[1] if missing else ""
    if name and inst.environment.topic(f"signals.{name}") in inst.all_topics:
        role = "gate" if entry.key.startswith("gates") else "objective"
        return (
            f"declare the signal to every process: `export FEEDMILL_SIGNALS={name}:{role}`, beside"
            f" the others; or {inst.command(f'config set {entry.key} null')} removes the setting"
        )
    if entry.key.startswith("experiments/"):
        return f"start it with what is meant: `feedmill config set {entry.key} …`"
    if is_known:
        return (
            f"set it to what is meant, `feedmill config set {entry.key} …`, or remove it:"
            f" {inst.command(f'config set {entry.key} null')}"
        )
    close = get_close_matches(entry.key, KINDS, 1)
    meant = close[0] if close else "weights"
    return (
        f"no setting is called so, and it has no effect: set what is meant, `feedmill config set"
        f" {meant} …`; `feedmill config history` has the value"
    )


def lost_feeds(inst: Installation) -> Iterator[Finding]:
    """Weights and gates of a feed are those of one that exists."""
    settings = inst.config.settings
    for kind, by_feed in (("weights", settings.weights), ("gates", settings.gates)):
        for feed in by_feed:
            if feed and settings.feed_of(feed) is None:
                known = [*settings.feeds, "global"]
                close = get_close_matches(feed, known, 1, cutoff=0.7)
                yield Finding(
                    "lost feeds",
                    "warn",
                    f"there is no feed {feed!r}, so the setting has no effect"
                    + (f"; did you mean {close[0]!r}?" if close else ""),
                    f"setting `{kind}/{feed}`",
                    f"{inst.command(f'config set {kind}/{feed} null')}, or declare the feed:"
                    f" `feedmill config set feeds/{feed} …`",
                )


def thresholds(inst: Installation) -> Iterator[Finding]:
    """Gates demote before they hide."""
    settings = inst.config.settings
    for feed in ("", *sorted(set(settings.gates) - {""})):
        for gate, policy in settings.gates_of(feed).items():
            if warning := policy.warning():
                key = f"gates/{feed}".rstrip("/")
                yield Finding(
                    "thresholds",
                    "warn",
                    warning,
                    f"setting `{key}`, gate {gate}",
                    inst.command(f"config set {key} {gate}.demote_at=null"),
                )


def filters_without_effect(inst: Installation) -> Iterator[Finding]:
    """Rules belong to filters whose gates are on."""
    settings = inst.config.settings
    policies = settings.gates_of("")
    for name, rules in settings.rules.items():
        own = [one for one in settings.gates.values() if name in one]
        if (
            rules
            and not policies[name].enabled
            and not any(one[name].enabled is True for one in own)
        ):
            yield Finding(
                "rules",
                "warn",
                f"{len(rules)} rules, and the gate {name} is off: they hide nothing",
                f"settings `rules/{name}` and `gates`",
                f"{inst.command(f'config set gates {name}.enabled=true')}, or remove the rules:"
                f" {inst.command(f'config set rules/{name} null')}",
            )


def overrides(inst: Installation) -> Iterator[Finding]:
    """The newest overrides name gates that exist, and keep the contract."""
    newest = {one.key: one for one in inst.newest("overrides", _NEWEST_OVERRIDES)}
    for key, record in newest.items():
        if record.value is None or record.value == b"":
            continue
        try:
            decode_override(inst.environment.signals, key, record.value)
        except BadEvent as error:
            name = (key or b"").decode("utf-8", "replace")[:80]
            yield Finding(
                "overrides",
                "wrong",
                f"an override has no effect: {error}",
                f"topic `{inst.environment.topic('overrides')}`, offset {record.offset}, key"
                f" `{name}`",
                "declare its gate in FEEDMILL_SIGNALS of every process, or write it again with"
                " `feedmill override`; an empty value under the key removes the record",
            )
