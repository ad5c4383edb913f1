"""What is wrong with this process and its surroundings: variables, folder, port, libraries."""

from __future__ import annotations

import http.client
import importlib.metadata
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path

from feedmill.operations.status.finding import Finding
from feedmill.operations.status.installation import Installation
from feedmill.streams.environment import Environment
from feedmill.streams.security import CLIENT_SETTINGS, REDIS_FILES, SECRET_FILES, variable_of

# Those that are no attribute of `Environment`; tests have some of their own.
_OTHERS = (
    *("home", "data", "log_level", "status_fd", *REDIS_FILES),
    *(f"kafka_{name}" for name in CLIENT_SETTINGS),
    *(f"{name}_file" for name in SECRET_FILES),
)
_NO_VARIABLES = {"instance_is_given", "security", "secret_files"}
_START = variable_of("")
_OF_TESTS = "TEST_"
_ASK_S = 1.0
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?>=(?P<least>[0-9.]+)")


def variables(inst: Installation) -> Iterator[Finding]:
    """Every variable FEEDMILL_… is one that feedmill reads."""
    attributes = {field.name for field in fields(Environment)} - _NO_VARIABLES
    known = {variable_of(name).removeprefix(_START) for name in (*attributes, *_OTHERS)}
    for name in sorted(inst.variables):
        end = name.removeprefix(_START)
        if not name.startswith(_START) or end in known or end.startswith(_OF_TESTS):
            continue
        close = [_START + one for one in get_close_matches(end, sorted(known), 1, cutoff=0.7)]
        yield Finding(
            "wrong" if close else "warn",
            "nothing reads this variable" + (f"; did you mean {close[0]}?" if close else ""),
            f"variable {name}",
            f"`unset {name}`" + (f", and set {close[0]} in its place" if close else ""),
        )


def home(inst: Installation) -> Iterator[Finding]:
    """FEEDMILL_HOME is a folder that can be written, or can be made."""
    name = variable_of("home")
    if not inst.variables.get(name):
        return
    path = Path(inst.variables[name]).absolute()
    there = next(one for one in (path, *path.parents) if one.exists())
    if not there.is_dir():
        what, way_out = f"{there} is no folder", f"`export {name}=…` to a folder, or remove {there}"
    elif not os.access(there, os.W_OK | os.X_OK):
        what = f"{there} cannot be written, and the local stack and logs are kept there"
        way_out = f"`chmod u+wx {there}`, or `export {name}=…` to another folder"
    else:
        return
    yield Finding("wrong", what, f"variable {name}", way_out)


def port(inst: Installation) -> Iterator[Finding]:
    """FEEDMILL_HOST and FEEDMILL_PORT are free, or a process of feedmill answers there."""
    host, number = inst.environment.host, inst.environment.port
    if not number:
        return
    try:
        family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, number))
        return
    except OSError as error:
        reason = str(error.strerror or error).lower()
    if _answers(host, number):
        return
    yield Finding(
        "wrong",
        f"a worker cannot listen there: {reason}",
        f"{host}:{number}",
        f"set {variable_of('port')} to a free one (0 takes any) and {variable_of('host')} to an"
        " address of this machine, or stop what listens there",
    )


def libraries(inst: Installation) -> Iterator[Finding]:
    """The packages that are installed are those that feedmill was written for."""
    for line in importlib.metadata.requires("feedmill") or ():
        match = _REQUIREMENT.fullmatch(line.partition(";")[0].replace(" ", ""))
        if match is None or "extra ==" in line:
            continue
        try:
            found = importlib.metadata.version(match["name"])
        except importlib.metadata.PackageNotFoundError:
            found = ""
        if not found or _numbers(found) < _numbers(match["least"]):
            yield Finding(
                "wrong",
                f"{match['name']} {found or 'is not installed'}, expected {match['least']} or"
                " later",
                "the Python of this process",
                f"`pip install '{match['name']}>={match['least']}'`, or feedmill again",
            )


def _answers(host: str, number: int) -> bool:
    """Whether a process of feedmill answers at an address."""
    asked = "127.0.0.1" if host in ("0.0.0.0", "") else host  # noqa: S104 - where it listens
    connection = http.client.HTTPConnection(asked, number, timeout=_ASK_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().read(16) == b"alive\n"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
