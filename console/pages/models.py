"""The models: their versions, where they run, what they say; release, roll back, freeze."""

from __future__ import annotations

import re
from collections.abc import Callable

from aiohttp import web

from feedmill.console.logs import Logs
from feedmill.console.routes import Handler, NotFound, Route, Visit
from feedmill.console.view import Superseded, View
from feedmill.console.view_messages import GatesAsk, GateSpread
from feedmill.events.errors import FeedmillError, UsageError
from feedmill.operations.changes import AwaitedChange, MadeBy
from feedmill.operations.releases import (
    Canary,
    WantedRelease,
    pending_text,
    running_rows,
    version_rows,
    wanted_freeze,
    wanted_release,
    wanted_rollback,
    wanted_unfreeze,
    write_release,
)
from feedmill.operations.times import parse_duration, time_text
from feedmill.streams.environment import Environment
from feedmill.streams.releases.loading import MODELS
from feedmill.streams.releases.release_log import BY_TEXT, ReleaseFold
from feedmill.streams.tokens import TRAINER, VIEWER

_ANSWERS_S = 90.0
_VIEW_OF = "global"
# A refusal that begins with the name of a field stands beside that field.
_FIELD = re.compile("-*(version|canary|after)[: ]")


def _first(visit: Visit) -> web.Response:
    return visit.redirect(f"/models/{MODELS[0]}")


def _show(visit: Visit) -> web.Response:
    return _page(visit, _model(visit))


def _page(visit: Visit, model: str, status: int = 200, error: str = "") -> web.Response:
    environment, logs = visit.console.environment, visit.console.part(Logs)
    history, instances = logs.releases(), sorted(logs.instances().items())
    running = [row for name, one in instances for row in running_rows(history, name, one)]
    policy = logs.config().settings.gates_of("").get(model)
    return visit.page(
        "models.html",
        status=status,
        model=model,
        models=MODELS,
        versions=list(version_rows(environment, history, model)),
        running=[row for row in running if row.model.rpartition("/")[2] == model],
        drift=[one for _, inst in instances for one in inst.drift if one.model == model],
        history=list(reversed(history.rows(model))),
        candidate=history.candidate(model),
        current=history.current(model),
        expect=_last_offset(history, model),
        has_canaries=model in BY_TEXT,
        spread=_spread(visit, model),
        policy=policy,
        error=error,
        error_field=_field_of(error),
        typed=visit.form,
    )


def _field_of(error: str) -> str:
    found = _FIELD.match(error)
    return found[1] if found else ""


def _spread(visit: Visit, model: str) -> GateSpread | None:
    """Return how the values of a model are spread; None while the view is read."""
    ask = GatesAsk(_VIEW_OF, signals=(model,))
    try:
        found = visit.console.part(View).ask(f"models {model}", ask).result
    except (Superseded, FeedmillError):
        return None
    return None if found is None else next(iter(found.spreads), None)


def _release(visit: Visit) -> web.Response:
    model, form = _model(visit), visit.form
    canary, after = form.get("canary", "").strip(), form.get("after", "").strip()

    def wanted() -> WantedRelease:
        if canary and not canary.isdecimal():
            raise UsageError(f"canary: expected a number of partitions, got {canary!r}")
        after_ms = parse_duration(after) if after else None
        if after and after_ms is None:
            raise UsageError(
                f"after: expected a duration such as 90s, 30m, 2h or 7d, got {after!r}"
            )
        return wanted_release(
            visit.console.environment,
            visit.made_by(form.get("note", "")),
            model,
            form.get("version") or None,
            Canary(int(canary), after_ms) if canary else None,
        )

    return _written(visit, model, wanted)


# What of `operations.releases` takes who asks and a model.
_Wanted = Callable[[Environment, MadeBy, str], WantedRelease]


def _rollback(environment: Environment, made_by: MadeBy, model: str) -> WantedRelease:
    return wanted_rollback(environment, made_by, model, None)


def _change(wanted: _Wanted) -> Handler:
    """Return the handler of a form that says nothing but why."""

    def handle(visit: Visit) -> web.Response:
        model, made_by = _model(visit), visit.made_by(visit.form.get("note", ""))
        return _written(visit, model, lambda: wanted(visit.console.environment, made_by, model))

    return handle


def _written(visit: Visit, model: str, wanted: Callable[[], WantedRelease]) -> web.Response:
    """Write what is wanted, unless somebody changed the model since the page was shown."""
    history = visit.console.part(Logs).releases()
    if visit.form.get("expect", "") != str(_last_offset(history, model)):
        return _page(visit, model, 409, _changed_meanwhile(history, model))
    try:
        found = wanted()
    except FeedmillError as error:
        return _page(visit, model, 422, str(error))
    change = AwaitedChange(visit.console.environment, visit.made_by(found.note), _ANSWERS_S)
    written = write_release(change, found.key, model, found.version)
    is_refused = any(answer.state == "refused" for answer in written.answers)
    return visit.page(
        "release_written.html",
        model=model,
        done=found.done,
        written=written,
        pending=pending_text(f"models rollback {model}") if is_refused and found.version else "",
    )


def _changed_meanwhile(history: ReleaseFold, model: str) -> str:
    rows = history.rows(model)
    if not rows:
        return f"`{model}` was changed meanwhile: nothing is released of it. Nothing was written"
    last = rows[-1]
    note = f" ({last.note})" if last.note else ""
    who, when = last.by or "somebody", time_text(last.at_ms)
    return (
        f"`{model}` was changed meanwhile: {last.what} {last.version} by {who} at {when}{note}."
        " Nothing was written"
    )


def _last_offset(history: ReleaseFold, model: str) -> int:
    """Return where the last record about a model stands that the page shows; -1 before any."""
    rows = history.rows(model)
    return rows[-1].offset if rows else -1


def _model(visit: Visit) -> str:
    model = visit.names["model"]
    if model not in MODELS:
        raise NotFound("model", model, MODELS)
    return model


ROUTES = (
    Route("GET", "/models", VIEWER, _first),
    Route("GET", "/models/{model}", VIEWER, _show),
    Route("POST", "/models/{model}/release", TRAINER, _release),
    Route("POST", "/models/{model}/rollback", TRAINER, _change(_rollback)),
    Route("POST", "/models/{model}/freeze", TRAINER, _change(wanted_freeze)),
    Route("POST", "/models/{model}/unfreeze", TRAINER, _change(wanted_unfreeze)),
)
