"""What is wrong with settings, overrides, models and lists: refused, gone, or without effect."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from feedmill.events.decode import decode_override
from feedmill.events.errors import BadEvent, FeedmillError
from feedmill.events.settings import KINDS
from feedmill.filters.list_store import read_list
from feedmill.models.artifact import local_copy
from feedmill.models.store_files import Store, file_sizes
from feedmill.operations.status.finding import Finding, Severity
from feedmill.operations.status.installation import Installation
from feedmill.streams.kafka.client import CallIsStuck, bounded
from feedmill.streams.releases.loading import MODELS, load_model, shipped_sha256, store_of
from feedmill.streams.releases.release_log import ReleaseFold
from feedmill.streams.settings.config_log import ConfigEntry

# Of a store on a server: whoever waits for a doctor does not wait for minutes.
_ANSWERS_S = 4.0
# Overrides may be hundreds of thousands.
_NEWEST_OVERRIDES = 1_000


def refused_records(inst: Installation) -> Iterator[Finding]:
    """The last record of each key of `config` was applied."""
    entries = inst.config.entries
    last = {entry.key: entry for entry in entries}
    newest_applied = max((entry.offset for entry in entries if entry.applied), default=-1)
    # What running instances refuse, `refused_settings` tells.
    told = {of.offset for beat in inst.running.living for of in beat.instance.refused}
    for key, entry in last.items():
        is_known = key.partition("/")[0] in KINDS
        # Nothing can be written under a key of no setting: whatever is applied since outdates it.
        is_outdated = not is_known and entry.offset < newest_applied
        if entry.applied or is_outdated or entry.offset in told:
            continue
        kind, _, name = key.partition("/")
        if kind == "experiments" and name in inst.config.settings.experiments:
            continue  # what it began with is in force; the name of one that ended takes no other
        yield Finding(
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
                    "warn",
                    warning,
                    f"setting `{key}`, gate {gate}",
                    inst.command(f"config set {key} {gate}.demote_at=null"),
                )


def rules(inst: Installation) -> Iterator[Finding]:
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
                "wrong",
                f"an override has no effect: {error}",
                f"topic `{inst.environment.topic('overrides')}`, offset {record.offset}, key"
                f" `{name}`",
                "declare its gate in FEEDMILL_SIGNALS of every process, or write it again with"
                " `feedmill override`; an empty value under the key removes the record",
            )


# --- models and lists --------------------------------------------------------------------------


def store(inst: Installation) -> Iterator[Finding]:
    """The store is there and can be read."""
    found = inst.environment.models
    what, way_out = "", ""
    if isinstance(found, Path):
        if not found.is_dir():
            what, way_out = "there is no such folder", f"`mkdir -p {found}`, or "
        elif not os.access(found, os.R_OK | os.X_OK):
            what, way_out = "the folder cannot be read", f"`chmod u+rx {found}`, or "
    elif found is not None:
        try:
            inst.once("store", lambda: bounded(lambda: _look(found), _ANSWERS_S))
        except CallIsStuck:
            what, way_out = f"no answer within {_ANSWERS_S:.0f} s", "start its server, or "
        except (FeedmillError, OSError) as error:
            what = f"it cannot be read: {error}"
    if what:
        way_out += "correct FEEDMILL_MODELS" + ("" if isinstance(found, Path) else " or AWS_…")
        yield Finding("wrong", f"store of models: {what}", str(found), way_out)


def models(inst: Installation) -> Iterator[Finding]:
    """Models in force and candidates are in the store and fit this build."""
    if any(store(inst)):
        return
    history = ReleaseFold.of(MODELS, inst.releases)
    for name in (one for one in inst.environment.signals.all if one in MODELS):
        back = inst.command(f"models rollback {name}")
        release, candidate = history.current(name), history.candidate(name)
        versions: list[tuple[Severity, str, str, str]] = []
        if release is None:
            sha256 = shipped_sha256(name)
            versions.append(("wrong", sha256, "the shipped version", "install feedmill again"))
        else:
            way_out = f"put the file back into FEEDMILL_MODELS, or {back}"
            versions.append(("wrong", release.sha256, f"release {release.version}", way_out))
        if candidate is not None:
            sha256, version = candidate.record.sha256, f"candidate {candidate.record.version}"
            versions.append(
                ("wrong" if candidate.record.partitions else "warn", sha256, version, back)
            )
        for severity, sha256, version, way_out in versions:
            if reason := _unusable(inst, name, sha256):
                yield Finding(severity, reason, f"model {name}, {version}", way_out)


def _unusable(inst: Installation, name: str, sha256: str) -> str:
    """Return why a version cannot be loaded; "" if it can be."""
    try:
        with local_copy(store_of(name, inst.environment.models, sha256), name, sha256) as folder:
            load_model(name, folder, sha256)
    except FeedmillError as error:
        return str(error)
    return ""


def lists(inst: Installation) -> Iterator[Finding]:
    """Every list in force is in the store."""
    found = inst.environment.models
    if any(store(inst)):
        return
    for key, release in ReleaseFold.of(MODELS, inst.releases).lists_in_force().items():
        way_out = "put the file back"
        try:
            if found is None:
                way_out = "set FEEDMILL_MODELS to the store of the workers"
                raise FeedmillError("this process has no store that the list in force could be in")
            read_list(found, key.filter, key.name, release.sha256)
        except FeedmillError as error:
            withdraw = inst.command(f"lists withdraw {key.filter} {key.name}")
            where = f"list {key.filter}/{key.name}, release {release.version}"
            yield Finding("wrong", str(error), where, f"{way_out}, or {withdraw}")


def _look(found: Store) -> None:
    file_sizes(found)
