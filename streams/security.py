"""How a process signs in to Kafka and Redis: its settings, checked once at the start.

Secrets may stand in files, which variables name; a child gets the names of the files.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

from cryptography import x509

from feedmill.events.errors import BadCredentials

# Settings of the Kafka clients that `FEEDMILL_KAFKA_…` passes on, by the clients' names.
CLIENT_SETTINGS = (
    "security_protocol",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
)
# Variables with `_FILE` behind the name of the one whose text the file has.
SECRET_FILES = ("redis", "kafka_sasl_plain_password", "kafka_ssl_password")
# TLS files for Redis, by the parameters of its address.
_REDIS_FILES = {
    "redis_ssl_cafile": "ssl_ca_certs",
    "redis_ssl_certfile": "ssl_certfile",
    "redis_ssl_keyfile": "ssl_keyfile",
}
REDIS_FILES = tuple(_REDIS_FILES)
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
# What a server says, or a library about it, and the way out; `{}` stands for KAFKA or REDIS.
_WAYS_OUT = (
    ("it speaks TLS", "set {tls}"),
    ("it speaks no TLS", "correct the port, or set FEEDMILL_KAFKA_SECURITY_PROTOCOL without SSL"),
    ("Error while reading", "if the port is one for TLS, set {tls}"),
    ("self-signed|issuer", "name who signed the server's certificate in FEEDMILL_{}_SSL_CAFILE"),
    ("has expired", "give the server a certificate that is in force"),
    ("mismatch|not valid for", "call the server in FEEDMILL_{} as its certificate does"),
    ("verify failed", "`feedmill doctor` says what is wrong with the server's certificate"),
    ("WRONGPASS", "correct user and password in FEEDMILL_REDIS"),
    (
        "alert",
        "name a certificate that is in force, of an authority that the server trusts, in"
        " FEEDMILL_{0}_SSL_CERTFILE, and its key in FEEDMILL_{0}_SSL_KEYFILE",
    ),
    (
        "SASL authentication",
        "correct FEEDMILL_KAFKA_SASL_PLAIN_USERNAME, its password or FEEDMILL_KAFKA_SASL_MECHANISM",
    ),
)
_TLS = {
    "KAFKA": "FEEDMILL_KAFKA_SECURITY_PROTOCOL to SSL or SASL_SSL",
    "REDIS": "FEEDMILL_REDIS to rediss://…",
}
_TLS_ANSWERS_S = 2.0
_HOST = r"(?:[A-Za-z0-9._-]+(?::\d+)?|\[[0-9A-Fa-f:.]+\](?::\d+)?)"


def variable_of(attribute: str) -> str:
    """The variable of an attribute of `Environment`."""
    return f"FEEDMILL_{attribute.upper()}"


def shown_address(url: str) -> str:
    """Return an address for people: without user, password and query, whatever they hold."""
    scheme, separator, rest = url.rpartition("://") if "://" in url else ("", "", url)
    before_query, _, query = rest.partition("?")
    place, slash, path = before_query.partition("/")
    hosts = place.rpartition("@")[2]
    # A password that is not quoted may have any of these signs.
    is_odd = "@" in path or ("@" in query and not re.match(r"\w+=", query))
    if is_odd or (hosts and not re.fullmatch(f"{_HOST}(?:,{_HOST})*", hosts)):
        return f"{scheme}{separator}…"
    return f"{scheme}{separator}{hosts}{slash}{path}"


def secret(variables: Mapping[str, str], attribute: str) -> str | None:
    """Return the text of a variable, or of the file that stands in its place; None without both.

    Raises `BadCredentials`: both are given, or the file cannot be read or is empty.
    """
    name = variable_of(attribute)
    path, text = variables.get(f"{name}_FILE", ""), variables.get(name)
    if not path:
        return text
    if text:
        raise BadCredentials(f"{name}: {name}_FILE is given, too; leave one of them out")
    found = _read(f"{name}_FILE", path).decode("utf-8", "replace").strip("\r\n")
    if not found:
        raise BadCredentials(f"{name}_FILE: the file {path} is empty; write the secret into it")
    return found


def read_security(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of the Kafka clients, of `CLIENT_SETTINGS`.

    Raises `BadCredentials`: one is wrong, or a file is missing or does not fit.
    """
    found = {}
    for name in CLIENT_SETTINGS:
        attribute = f"kafka_{name}"
        is_secret = attribute in SECRET_FILES
        text = secret(variables, attribute) if is_secret else variables.get(variable_of(attribute))
        if text:
            found[name] = text
    _check_sign_in(found)
    protocol = found.get("security_protocol", "PLAINTEXT")
    files = {name: found.get(name, "") for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile")}
    if not protocol.endswith("SSL"):
        for name, path in files.items():
            if path:
                raise BadCredentials(
                    f"{_kafka(name)} is given, and {_kafka('security_protocol')} is {protocol},"
                    " which has no TLS: set SSL or SASL_SSL, or leave the file out"
                )
        return found
    _check_files("kafka_", files, found.get("ssl_password"))
    return found


def redis_url(url: str, variables: Mapping[str, str]) -> str:
    """Return the address of Redis with its TLS files.

    Raises `BadCredentials`: the address has no TLS, or a file is missing or does not fit.
    """
    files = {name: variables.get(variable_of(name), "") for name in REDIS_FILES}
    given = {name: path for name, path in files.items() if path}
    if not given:
        return url
    if not url.startswith("rediss"):
        raise BadCredentials(
            f"{variable_of(next(iter(given)))} is given, and {variable_of('redis')} is"
            f" {shown_address(url)}, which has no TLS: set rediss://…, or leave the file out"
        )
    _check_files("redis_", {name.removeprefix("redis_"): path for name, path in files.items()})
    added = {_REDIS_FILES[name]: path for name, path in given.items()}
    added = {name: path for name, path in added.items() if f"{name}=" not in url}
    # Of a cluster what follows the hosts begins with a slash.
    place = url if "/" in url.partition("://")[2] else f"{url}/"
    return place + ("&" if "?" in url else "?") * bool(added) + urlencode(added, safe="/")


def way_out(reason: str, server: str) -> str:
    """Say what to do where "KAFKA" or "REDIS" refuses a process for this reason; "" if unknown."""
    for sign, text in _WAYS_OUT:
        if re.search(sign, reason):
            return text.format(server, tls=_TLS[server])
    return ""


def tls_context(security: Mapping[str, str]) -> ssl.SSLContext:
    """Return how a client with these settings, of `CLIENT_SETTINGS`, checks a server of Kafka."""
    context = ssl.create_default_context(cafile=security.get("ssl_cafile"))
    if "ssl_certfile" in security:
        context.load_cert_chain(
            security["ssl_certfile"], security.get("ssl_keyfile"), security.get("ssl_password")
        )
    return context


def tls_trouble(host: str, port: int, security: Mapping[str, str]) -> str:
    """Say why a server of Kafka and a client agree on no TLS; "" if they do, or it is unknown.

    librdkafka tells neither which check a certificate failed, nor that a port is one for TLS.
    """
    wants_tls = security.get("security_protocol", "PLAINTEXT").endswith("SSL")
    context = tls_context(security if wants_tls else {})
    if not wants_tls:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=_TLS_ANSWERS_S) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return "" if wants_tls else "it speaks TLS"
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is refused: {error.verify_message.rstrip('.')}"
    except TimeoutError:
        return ""
    except OSError as error:
        return "it speaks no TLS" if wants_tls and "ALERT" not in str(error) else ""


def certificates_left(variables: Mapping[str, str]) -> dict[str, float]:
    """Return how many days the certificates of a process last, by the variable that names each."""
    names = [
        variable_of(f"{server}_ssl_{file}")
        for server in ("kafka", "redis")
        for file in ("cafile", "certfile")
    ]
    found = {}
    for name in names:
        with suppress(OSError, ValueError):  # a file that is being replaced
            if path := variables.get(name):
                found[name] = certificate_days(path)
    return found


def certificate_days(path: str) -> float:
    """Return how many days are left of the first certificate of a file to expire; below 0: none."""
    found = x509.load_pem_x509_certificates(Path(path).read_bytes())
    ends_s = min(one.not_valid_after_utc.timestamp() for one in found)
    return (ends_s - time.time()) / 86_400


def _kafka(name: str) -> str:
    return variable_of(f"kafka_{name}")


def _check_sign_in(found: Mapping[str, str]) -> None:
    protocol, variable = found.get("security_protocol", "PLAINTEXT"), _kafka("security_protocol")
    if protocol not in _PROTOCOLS:
        raise BadCredentials(f"{variable}: expected {_or(_PROTOCOLS)}, got {protocol!r}")
    mechanism, named = found.get("sasl_mechanism", ""), _kafka("sasl_mechanism")
    if mechanism and mechanism not in _MECHANISMS:
        raise BadCredentials(
            f"{named}: expected {_or(_MECHANISMS)}, got {mechanism!r}, by which feedmill cannot"
            " sign in; mutual TLS needs no mechanism"
        )
    sasl = ("sasl_mechanism", "sasl_plain_username", "sasl_plain_password")
    if protocol.startswith("SASL"):
        for name in sasl:
            if name not in found:
                raise BadCredentials(f"{_kafka(name)}: {variable}={protocol} needs it; set it")
    for name in sasl:
        if name in found and not protocol.startswith("SASL"):
            raise BadCredentials(
                f"{_kafka(name)} is given, and {variable} is {protocol}, which asks for no"
                " password: set SASL_SSL, or leave it out"
            )


def _check_files(start: str, files: Mapping[str, str], password: str | None = None) -> None:
    """Check TLS files: they can be read, and key and certificate fit and are in force."""
    for name, path in files.items():
        if path:
            _read(variable_of(start + name), path)
    authority, certificate = files["ssl_cafile"], files["ssl_certfile"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority:
        try:
            context.load_verify_locations(authority)
        except ssl.SSLError:
            raise BadCredentials(
                f"{variable_of(start + 'ssl_cafile')}: {authority} has no certificate in PEM; name"
                " the file of the authority that signed the server's certificate"
            ) from None
    variable, key = variable_of(start + "ssl_certfile"), files["ssl_keyfile"]
    if not certificate:
        if key:
            raise BadCredentials(f"{variable}: its key is given without it; set it")
        return
    try:
        # Without a passphrase the library would ask at the terminal.
        context.load_cert_chain(certificate, key or None, lambda: password or "")
        days = certificate_days(certificate)
    except (ssl.SSLError, ValueError) as error:
        is_other = "KEY_VALUES_MISMATCH" in str(error)
        what = f"{certificate} and its key cannot be used: one is not in PEM, or the passphrase of"
        what += " the key is wrong or missing"
        if is_other:
            what = f"the key {key} does not fit {certificate}"
        raise BadCredentials(f"{variable}: {what}; name files that belong together") from None
    if days < 0:
        raise BadCredentials(
            f"{variable}: {certificate} expired {-days:.0f} days ago; replace the file"
        )


def _read(variable: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadCredentials(
            f"{variable}: cannot read {path} ({error.strerror}); name a file that this process may"
            " read"
        ) from None


def _or(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
