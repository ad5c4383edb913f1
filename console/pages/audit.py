"""The audit: who changed what, before and after; the overrides in force; and the way back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aiohttp import web

from feedmill.console.logs import Logs
from feedmill.console.routes import Route, Visit
from feedmill.events.errors import UsageError
from feedmill.operations.changes import AuditRow
from feedmill.operations.overrides import override_rows
from feedmill.operations.times import parse_duration
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.tokens import MODERATOR, OPERATOR, VIEWER

_PAGE = 100
_SINCE = ("", "1h", "1d", "7d", "30d")
# What reverts a change of a topic, and who may do that.
_REVERTS = {"config": ("/settings/undo", OPERATOR), "overrides": ("/overrides/undo", MODERATOR)}


def _show(visit: Visit) -> web.Response:
    by, subject, since = (visit.query(name).strip() for name in ("by", "subject", "since"))
    start_ms = 0
    if since:
        span_ms = parse_duration(since)
        if span_ms is None:
            error = f"expected a duration such as 90s, 30m, 2h or 7d, got {since!r}"
            return _page(visit, 422, [], 0, error)
        start_ms = now_ms() - span_ms
    logs = visit.console.part(Logs)
    rows = [
        row
        for row in logs.audit()
        if row.stored_ms >= start_ms
        and by.lower() in row.said.by.lower()
        and subject.lower() in f"{row.said.topic} {row.said.key}".lower()
    ]
    try:
        start = max(0, int(visit.query("from", "0")))
    except ValueError:
        raise UsageError(f"from: expected a number, got {visit.query('from')!r}") from None
    shown = [*_rows(visit, logs.audit(), rows[start : start + _PAGE])]
    return _page(visit, 200, shown, len(rows), "")


def _page(
    visit: Visit, status: int, rows: Sequence[tuple[AuditRow, str]], total: int, error: str
) -> web.Response:
    asked = {name: visit.query(name) for name in ("by", "subject", "since", "from")}
    return visit.page(
        "audit.html",
        status=status,
        rows=rows,
        total=total,
        asked=asked,
        sinces=_SINCE,
        error=error,
        page_size=_PAGE,
    )


def _rows(
    visit: Visit, every: Sequence[AuditRow], chosen: Sequence[AuditRow]
) -> Iterator[tuple[AuditRow, str]]:
    """Yield rows, each with where a form takes it back; "" where none can.

    The newest change of a setting or an override can be taken back.
    """
    newest: dict[tuple[str, str | None], int] = {}
    for row in every:
        newest.setdefault((row.said.topic, row.said.key), row.audit_offset)
    for row in chosen:
        path, role = _REVERTS.get(row.said.topic, ("", OPERATOR))
        is_newest = newest[row.said.topic, row.said.key] == row.audit_offset
        yield row, path if is_newest and visit.may(role) else ""


def _show_overrides(visit: Visit) -> web.Response:
    at_ms, last = now_ms(), visit.console.part(Logs).overrides()
    by, subject = (visit.query(name).strip().lower() for name in ("by", "subject"))
    offsets = {(key.subject, key.gate): one.offset for key, one in last.items()}
    rows = [
        row
        for row in override_rows(last, at_ms)
        if by in row.by.lower() and subject in row.subject.lower()
    ]
    return visit.page(
        "overrides.html",
        rows=rows[:_PAGE],
        total=len(rows),
        offsets=offsets,
        at_ms=at_ms,
        asked={"by": visit.query("by"), "subject": visit.query("subject")},
    )


ROUTES = (
    Route("GET", "/audit", VIEWER, _show),
    Route("GET", "/audit/overrides", VIEWER, _show_overrides),
)
