"""`feedmill page`: what a reader answers to a user, with the terms of each score."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

import click

from feedmill.cli import option
from feedmill.cli.options import asks_installation
from feedmill.cli.output import Answer, Table
from feedmill.events.errors import UsageError
from feedmill.events.weights import OBJECTIVE_ALIASES
from feedmill.streams.environment import Environment

_WITHIN_S = 10.0
# The variable of the token, which does not belong on a command line.
_TOKEN = "FEEDMILL_READER_TOKEN"  # noqa: S105 - the name of a variable


@click.command()
@click.argument("feed")
@option("--reader URL", "The reader.  [on this machine]", name="url")
@option("--user ID", "Who reads, for the arm of an experiment.")
@option("--author ID", "Posts of these authors.", name="authors", multiple=True)
@option("--community NAME", "Or of these.", name="communities", multiple=True)
@option("--weights NAME=X", "Own weights: alpha=.2", multiple=True)
@option("--costs NAME=X", "Own costs: hide=8", multiple=True)
@option("--half-life HOURS", "An own half-life.", float)
@option("--top N", "How many posts.", click.IntRange(1, 100), 20)
@asks_installation
def page(
    environment: Environment,
    feed: str,
    url: str | None,
    user: str | None,
    authors: Sequence[str],
    communities: Sequence[str],
    weights: Sequence[str],
    costs: Sequence[str],
    half_life: float | None,
    top: int,
) -> Answer:
    """Show a page of FEED as a reader answers it, with the terms of each score.

    With --author and --community it has their posts alone.  A token is read from
    FEEDMILL_READER_TOKEN.
    """
    body: dict[str, Any] = {"count": top, "weights": _numbers(weights), "costs": _numbers(costs)}
    given = {"user_id": user, "half_life_hours": half_life}
    body |= {name: value for name, value in given.items() if value is not None}
    body |= {"authors": authors} if authors else {}
    body |= {"communities": communities} if communities else {}
    url = url or f"http://127.0.0.1:{environment.reader_port}"
    answer = ask(f"{url.rstrip('/')}/v1/feeds/{feed}", body)
    names = [*answer["weights"]["scale"], *answer["weights"].get("costs", {})]
    rows = [
        [
            str(rank),
            post["post_id"],
            post["author_id"],
            f"{post['score']:.6f}",
            *(f"{post['signals'][n]['value']:.4g}" if n in post["signals"] else "" for n in names),
            f"{post['factor']:g}",
        ]
        for rank, post in enumerate(answer["posts"], 1)
    ]
    columns = ["rank>", "post", "author", "score>", *(f"{name}>" for name in names), "factor>"]
    said = f"config offset {answer['config_offset']}{', STALE' if answer['stale'] else ''}"
    return Answer(answer, [Table(columns, rows), said])


def ask(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask a reader; raises `UsageError`: it refuses, or does not answer."""
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get(_TOKEN):
        headers["Authorization"] = f"Bearer {token}"
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"--reader: expected http://host:port, got {url[:80]!r}")
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - as above
    try:
        with urllib.request.urlopen(request, timeout=_WITHIN_S) as response:  # noqa: S310 - as above
            answer: dict[str, Any] = json.load(response)
    except urllib.error.HTTPError as error:
        said = error.read().decode("utf-8", "replace")
        try:
            said = json.loads(said)["error"]
        except (ValueError, KeyError):
            said = said[:200]
        raise UsageError(f"the reader answers {error.code}: {said}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UsageError(
            f"no reader answers at {url} ({reason}); start one with `feedmill reader`, or give its"
            " address by --reader"
        ) from None
    return answer


def _numbers(given: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for item in given:
        name, equals, text = item.partition("=")
        try:
            found[OBJECTIVE_ALIASES.get(name, name)] = float(text if equals else "")
        except ValueError:
            raise click.BadParameter(f"expected NAME=NUMBER, got {item!r}") from None
    return found
