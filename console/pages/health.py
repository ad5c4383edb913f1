"""`/`: the flow as a picture, what is wrong, and what changed in the last hour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, NamedTuple

from aiohttp import web
from confluent_kafka import KafkaException

from feedmill.console.health_watch import HealthWatch, Look, place_of
from feedmill.console.logs import Logs
from feedmill.console.routes import Route, Visit
from feedmill.console.servers import Servers
from feedmill.events.errors import UsageError
from feedmill.operations.changes import AuditRow
from feedmill.operations.status.health import RunningWorker
from feedmill.streams.flow import COMBINER, ENGAGEMENT, stages_of
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.tokens import VIEWER

_HOUR_MS = 3_600_000
_MOST_CHANGES = 20


class Stage(NamedTuple):
    """A box of the picture: its state (ready, warn, wrong), and what stands in it."""

    name: str
    state: str
    said: str
    rate: float | None = None
    delay_ms: float | None = None
    rates: tuple[float, ...] = ()


def _show(visit: Visit) -> web.Response:
    return visit.page("health.html", **_health(visit))


def _show_now(visit: Visit) -> web.Response:
    return visit.part("health_now.html", lambda: _health(visit))


def _health(visit: Visit) -> dict[str, Any]:
    watch = visit.console.part(HealthWatch)
    look, changes = watch.look(), _changes(visit)
    said = f"{look.health.at_ms if look else ''} {[row.audit_offset for row in changes]}"
    return {
        "look": look,
        "begun_ms": watch.begun_ms,
        "changes": changes,
        "flow": _flow(visit, look) if look else None,
        "findings": _findings(look) if look else (),
        "version": blake2b(said.encode(), digest_size=8).hexdigest(),
    }


def _findings(look: Look) -> list[tuple[Any, int]]:
    """The findings, those that make feeds stale first, each with since when it holds."""
    return [(one, look.since[place_of(one)]) for one in look.health.findings]


def _changes(visit: Visit) -> Sequence[AuditRow]:
    rows: Sequence[AuditRow] = ()
    with suppress(KafkaException, UsageError):
        rows = visit.console.part(Logs).audit()
    since_ms = now_ms() - _HOUR_MS
    return [row for row in rows[:_MOST_CHANGES] if row.stored_ms >= since_ms]


def _flow(visit: Visit, look: Look) -> dict[str, list[Stage]]:
    """The boxes of the picture from left to right."""
    signals = visit.console.environment.signals
    gates = [name for name in stages_of(signals) if name in signals.gates]
    rankers = [name for name in stages_of(signals) if name not in (*gates, COMBINER)]
    health = look.health
    return {
        "in": [_topic(look, name) for name in ("posts", "engagements")],
        "models": [_stage(look, name) for name in (*gates, *rankers)],
        "combiner": [_stage(look, COMBINER)],
        "out": [
            Stage(
                "Redis",
                "wrong" if health.feeds.get("stale") or health.redis_mib is None else "ready",
                ", ".join(f"{n} {state}" for state, n in health.feeds.items() if n) or "no feed",
                delay_ms=_leg(look, "posts", ("create_to_redis", "append_to_redis")),
            )
        ],
    }


def _topic(look: Look, topic: str) -> Stage:
    rates = look.rates.get(topic, ())
    waiting = sum(
        at.lag for one in look.health.workers for at in one.one.partitions if at.topic == topic
    )
    late = any(at.late_ms for one in look.health.workers for at in one.one.partitions)
    state = "warn" if late else "ready"
    rate = rates[-1] if rates else 0.0
    delay_ms = _leg(look, topic, ("append_to_fetch", "create_to_fetch"))
    return Stage(topic, state, f"{waiting:,} waiting", rate, delay_ms, rates)


def _stage(look: Look, name: str) -> Stage:
    of_stage = [one for one in look.health.workers if name in one.stages]
    if not of_stage:
        return Stage(name, "wrong", "no worker")
    ready = sum(one.one.ready for one in of_stage)
    leg = "judged_to_ranked" if name == COMBINER else "fetch_to_judged"
    topic = "engagements" if name == ENGAGEMENT else "posts"
    state = "ready" if ready == len(of_stage) else "warn" if ready else "wrong"
    said = (
        f"{ready} of {len(of_stage)} ready" if ready < len(of_stage) else _versions(name, of_stage)
    )
    times = look.health.legs.get(topic, {}).get(leg)
    rate = times.per_second if times else 0.0
    return Stage(name, state, said, rate, times.p50_ms if times else None)


def _versions(name: str, workers: Iterable[RunningWorker]) -> str:
    versions = {one.one.models[name][:6] for one in workers if name in one.one.models}
    return f"version {', '.join(sorted(versions))}" if versions else ""


def _leg(look: Look, topic: str, names: Sequence[str]) -> float | None:
    """The median of the first of these legs that has records."""
    legs = look.health.legs.get(topic, {})
    return next((legs[name].p50_ms for name in names if name in legs), None)


async def _show_servers(visit: Visit) -> web.Response:
    """The notice at the top of every page; without a change there is no content.

    No thread: pages may wait in all of them for a server that is away.
    """
    away = visit.console.part(Servers).away()
    version = " ".join(f"{one.name}{one.since_ms}" for one in away)
    if visit.query("version", "-") == (version or "none"):
        return web.Response(status=204)
    return visit.page("servers.html", away=away, version=version or "none")


ROUTES = (
    Route("GET", "/", VIEWER, _show),
    Route("GET", "/health/now", VIEWER, _show_now),
    Route("GET", "/servers", VIEWER, _show_servers),
)
