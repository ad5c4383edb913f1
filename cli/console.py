"""`feedmill console`: the web pages for operators, moderators and trainers, and who may sign in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

import click

from feedmill.cli import PORT, flag, option
from feedmill.cli.options import with_environment
from feedmill.cli.output import say
from feedmill.cli.token import token_file, tokens_option
from feedmill.console.access import Access, Proxy
from feedmill.deploy.supervisor import stop_on_signals
from feedmill.events.errors import UsageError
from feedmill.operations.changes import user_name
from feedmill.streams.environment import Environment
from feedmill.streams.tokens import ROLES

_PORT = 8790


@click.command()
@option("--host", "Where to listen.", default="127.0.0.1")
@option("--port N", "0: any free one.", PORT, _PORT)
@option(
    "--url URL",
    "How browsers reach it through a proxy, with a path if it has one: https://host/feedmill.",
    default="",
)
@flag("--read-only", "Change nothing, whoever signs in.")
@flag("--link", "Print a link that signs in, tokens or not.")
@option(
    "--proxy ADDRESS",
    "A proxy that signs people in, as 10.0.0.5 or 10.0.0.0/24: its headers count; repeatable.",
    name="peers",
    multiple=True,
)
@option(
    "--name-header HEADER",
    "Which header of the proxy has a person's name.",
    default="X-Forwarded-User",
)
@option(
    "--groups-header HEADER",
    "Which header of the proxy has their groups, with commas.",
    default="X-Forwarded-Groups",
)
@option(
    "--group GROUP=ROLE",
    f"The role of a group of the proxy: {', '.join(ROLES)}; repeatable.",
    name="groups",
    multiple=True,
)
@tokens_option
@with_environment
def console(
    environment: Environment,
    host: str,
    port: int,
    url: str,
    read_only: bool,
    link: bool,
    peers: Sequence[str],
    name_header: str,
    groups_header: str,
    groups: Sequence[str],
    tokens_path: Path | None,
) -> None:
    """Serve web pages to see the feeds, try a change and decide.

    Without tokens and proxy only this machine reaches it, by a link that it prints. With tokens,
    `feedmill token add`, people sign in by theirs; a proxy may do that, too.
    """
    try:
        from feedmill.console.server import (  # noqa: PLC0415 - the extra
            checked_address,
            go_behind_workers,
            serve,
        )
    except ModuleNotFoundError as error:
        if error.name != "jinja2":
            raise
        raise UsageError(
            "`console` needs jinja2, which is not installed; install it with"
            " pip install 'feedmill[console]'"
        ) from error
    tokens = token_file(tokens_path)
    proxy = _proxy(peers, name_header, groups_header, groups)
    has_sign_in = bool(tokens.people()) or proxy is not None
    address = checked_address(host, port, url, has_sign_in=has_sign_in)
    with_link = address.is_loopback and (link or not has_sign_in)
    access = Access(tokens, proxy, user_name() if with_link else None)

    def told(page: str) -> None:
        start = f"{page}/start?token={access.start_token}" if with_link else f"{page}/"
        say(f"console on {start}")

    async def run() -> None:
        stopping = asyncio.Event()
        stop_on_signals(stopping)
        await serve(environment, address, access, read_only=read_only, told=told, stopping=stopping)

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    go_behind_workers()
    asyncio.run(run())


def _proxy(
    peers: Sequence[str], name_header: str, groups_header: str, groups: Sequence[str]
) -> Proxy | None:
    if not peers:
        if groups:
            raise click.UsageError("--group is a group of a proxy; give --proxy, too")
        return None
    networks: list[IPv4Network | IPv6Network] = []
    for peer in peers:
        try:
            networks.append(ip_network(peer))
        except ValueError as error:
            raise click.BadParameter(f"{error}", param_hint="--proxy") from None
    roles = {}
    for group in groups:
        name, _, role = group.rpartition("=")
        if not name or role not in ROLES:
            raise click.BadParameter(
                f"expected GROUP=ROLE with a role of {', '.join(ROLES)}, got {group!r}",
                param_hint="--group",
            )
        roles[name] = role
    if not roles:
        raise click.UsageError("give the role of a group of the proxy: --group admins=operator")
    return Proxy(networks, name_header, groups_header, roles)
