"""`feedmill latency`: how long records take from Kafka to Redis, leg by leg."""

from __future__ import annotations

import math
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple
from typing import Any, NamedTuple

import click
import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from feedmill.cli import SECONDS, flag, option
from feedmill.cli.output import on_terminal, plain_table, print_json
from feedmill.events.errors import UsageError
from feedmill.streams.environment import Environment, read_environment
from feedmill.streams.observe.legs import LEGS, OF_THE_WORKER, TOPICS, PartitionLag, RowKey, Scrape
from feedmill.streams.observe.metrics import Distribution

_TIMEOUT_S = 5.0
_COLUMNS = ("topic", "leg", "a second>", "p50>", "p99>")
_LAG_COLUMNS = ("group", "topic", "lag>", "worst partition>", "its lag>")
_ORDER: tuple[RowKey, ...] = (
    *((leg, topic) for topic in TOPICS for leg in (*LEGS, "batch")),
    *((row, "") for row in OF_THE_WORKER if row != "batch"),
)


@click.command()
@click.argument("addresses", metavar="[ADDRESS]…", nargs=-1)
@flag("--once", "Measure once, print the table and end.")
@option(
    "--every SECONDS",
    "How long to measure for one table.",
    click.FloatRange(min=0.1),
    2.0,
    name="every_s",
)
@option("--for SECONDS", "End after so long.  [at Ctrl-C]", SECONDS, name="duration_s")
@flag("--json", "Print JSON, a line for each table.", "as_json")
def latency(
    addresses: Sequence[str],
    once: bool,
    every_s: float,
    duration_s: float | None,
    as_json: bool,
) -> None:
    """Show how long records take from Kafka to Redis, leg by leg, and the lag.

    ADDRESS is host:port of a worker or a supervisor, or the url of its metrics; the table has
    all of them together.  Without one it is FEEDMILL_HOST and FEEDMILL_PORT.
    """
    urls = [_url_of(address) for address in addresses or [_own_address(read_environment())]]
    end = math.inf if duration_s is None else time.monotonic() + duration_s
    tables = _tables(urls, every_s, 0.0 if once else end)
    with suppress(KeyboardInterrupt):
        if on_terminal() and not once and not as_json:
            with Live(console=Console(), auto_refresh=False) as screen:
                for table in tables:
                    screen.update(Text(_text(table)), refresh=True)
        else:
            for table in tables:
                print_json(_json(table)) if as_json else click.echo(_text(table))


class _Table(NamedTuple):
    """What happened within `seconds`: by leg and topic how long it took, and the lags."""

    seconds: float
    legs: Sequence[tuple[RowKey, Distribution]]
    lags: Sequence[PartitionLag]


def _text(table: _Table) -> str:
    legs = [
        (
            *(topic or "(worker)", leg, f"{found.per_second:.1f}"),
            *(_value_text(found, leg, q) for q in (0.5, 0.99)),
        )
        for (leg, topic), found in table.legs
    ]
    lags = [tuple(map(str, astuple(lag))) for lag in table.lags]
    return (
        f"in {table.seconds:.1f} s\n{plain_table(_COLUMNS, legs)}\n\n"
        f"{plain_table(_LAG_COLUMNS, lags)}\n"
    )


def _json(table: _Table) -> dict[str, Any]:
    """The table as `--json` prints it: seconds, and records for batches; None: no record."""
    return {
        "seconds": round(table.seconds, 3),
        "legs": [
            {
                "topic": topic or None,
                "leg": leg,
                "per_second": round(found.per_second, 3),
                "p50": _finite(found.quantile(0.5)),
                "p99": _finite(found.quantile(0.99)),
            }
            for (leg, topic), found in table.legs
        ],
        "lag": msgspec.to_builtins(table.lags),
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value


def _value_text(found: Distribution, leg: str, q: float) -> str:
    value = found.quantile(q)
    if value is None:
        return "-"
    above = "> " if math.isinf(value) else ""
    value = found.bounds[-2] if above else value
    return above + (f"{value:.0f} records" if leg == "batch" else f"{value * 1000:.1f} ms")


def _tables(urls: Sequence[str], every_s: float, end: float) -> Iterator[_Table]:
    """Yield a table for each interval, at least one; those after `end` are left out.

    Raises `UsageError` as `_scrape` does; before `end` only at the start, since workers restart.
    """
    earlier, at_s = _scrape(urls), time.monotonic()
    while True:
        time.sleep(every_s)
        now_s = time.monotonic()
        try:
            later = _scrape(urls)
        except UsageError as error:
            if now_s >= end:
                raise
            click.echo(f"trying again: {error}", err=True)
            continue
        rows = later.since(earlier)
        yield _Table(now_s - at_s, [(k, rows[k]) for k in _ORDER if k in rows], later.lags)
        earlier, at_s = later, now_s
        if now_s >= end:
            return


def _scrape(urls: Sequence[str]) -> Scrape:
    """Read the metrics of all that answer; of the others it says why on stderr.

    Raises
    ------
    UsageError
        None answers, or what answers is no worker.
    """
    texts, reasons = {}, []
    for url in urls:
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - http, by _url_of
                texts[url] = answer.read().decode("utf-8", "replace")
        except (OSError, ValueError) as error:
            reasons.append(f"{url}: {_reason(error)}")
    if not texts:
        raise UsageError(
            f"no worker answers: {'; '.join(reasons)}; start one with FEEDMILL_PORT set, or give"
            " the address that it prints at its start"
        )
    for reason in reasons:
        click.echo(f"no answer from {reason}", err=True)
    try:
        scrape = Scrape(texts)
    except ValueError as error:
        raise UsageError(_not_a_worker(texts, str(error))) from error
    if not scrape.is_of_feedmill:
        raise UsageError(_not_a_worker(texts, "there is no metric of feedmill"))
    return scrape


def _not_a_worker(urls: Mapping[str, str], found: str) -> str:
    return f"{', '.join(urls)}: no metrics of a worker ({found}); check the address"


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP status {error.code}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(getattr(cause, "strerror", None) or cause)


def _own_address(environment: Environment) -> str:
    if not environment.port:
        raise UsageError(
            "no address: give the host:port of a worker, as it prints it at its start, or set"
            " FEEDMILL_PORT to the port of the workers"
        )
    return f"{environment.host}:{environment.port}"


def _url_of(address: str) -> str:
    """The url of the metrics of ``host:port``, or of a url itself."""
    url = address if "://" in address else f"http://{address}"
    scheme, _, rest = url.partition("://")
    if scheme not in ("http", "https") or not rest.strip("/"):
        raise UsageError(f"expected host:port or an http url, got {address!r}")
    return url if "/" in rest else f"{url}/metrics"
