"""`feedmill latency`: how long records take from Kafka to Redis, leg by leg."""

from __future__ import annotations

import math
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import click
from rich.console import Console
from rich.live import Live

from feedmill.cli.latency_table import LatencyTable, live_latency_table, plain_latency_table
from feedmill.cli.output import on_terminal, print_json
from feedmill.events.errors import UsageError
from feedmill.streams.environment import Environment, read_environment
from feedmill.streams.observe.legs import Scrape

_TIMEOUT_S = 5.0


@click.command()
@click.argument("addresses", metavar="[ADDRESS]…", nargs=-1)
@click.option("--once", is_flag=True, help="Measure once, print the table and end.")
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to measure for one table.",
)
@click.option(
    "--for",
    "duration_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="End after so long.  [at Ctrl-C]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a line for each table.")
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
        if as_json:
            for table in tables:
                print_json(table.as_dict())
        elif on_terminal() and not once:
            with Live(console=Console(), auto_refresh=False) as screen:
                for table in tables:
                    screen.update(live_latency_table(table), refresh=True)
        else:
            for table in tables:
                click.echo(plain_latency_table(table))


def _tables(urls: Sequence[str], every_s: float, end: float) -> Iterator[LatencyTable]:
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
        yield LatencyTable(now_s - at_s, later.since(earlier), later.lags)
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
