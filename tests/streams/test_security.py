"""How a process signs in: settings that are wrong are refused at the start, by their variables."""

import datetime
import os
import subprocess
import sys
from pathlib import Path

import pytest

from builders.golden import Golden
from builders.secured_stack import Certificates
from feedmill.events.errors import BadCredentials
from feedmill.streams.environment import Environment, environment_variables, read_environment
from feedmill.streams.security import certificates_left, redis_url

SIGNED_IN = {
    "FEEDMILL_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "FEEDMILL_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "FEEDMILL_KAFKA_SASL_PLAIN_USERNAME": "judge",
    "FEEDMILL_KAFKA_SASL_PLAIN_PASSWORD": "hidden",
}


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "pem")


def mistakes(certificates: Certificates) -> dict[str, dict[str, str]]:
    """Wrong variables by what is wrong with them."""
    certificate, key = map(str, certificates.issue("judge"))
    _, other_key = map(str, certificates.issue("other"))
    long_ago = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    expired, expired_key = map(str, certificates.issue("old", not_after=long_ago))
    folder = certificates.folder
    (folder / "text.pem").write_text("no certificate")
    (folder / "empty").write_text("\n")
    kafka, tls = "FEEDMILL_KAFKA_", {"FEEDMILL_KAFKA_SECURITY_PROTOCOL": "SSL"}
    pair = {kafka + "SSL_CERTFILE": certificate, kafka + "SSL_KEYFILE": key}
    return {
        "protocol": {kafka + "SECURITY_PROTOCOL": "TLS"},
        "no mechanism": {**SIGNED_IN, kafka + "SASL_MECHANISM": ""},
        "OAuth": {**SIGNED_IN, kafka + "SASL_MECHANISM": "OAUTHBEARER"},
        "Kerberos": {**SIGNED_IN, kafka + "SASL_MECHANISM": "GSSAPI"},
        "no password": {**SIGNED_IN, kafka + "SASL_PLAIN_PASSWORD": ""},
        "password without SASL": {kafka + "SASL_PLAIN_PASSWORD": "hidden"},
        "file without TLS": {kafka + "SSL_CAFILE": certificate},
        "missing file": {**tls, kafka + "SSL_CAFILE": str(folder / "gone.pem")},
        "a folder": {**tls, kafka + "SSL_CAFILE": str(folder)},
        "no certificate": {**tls, kafka + "SSL_CAFILE": str(folder / "text.pem")},
        "key alone": {**tls, kafka + "SSL_KEYFILE": key},
        "another key": {**tls, **pair, kafka + "SSL_KEYFILE": other_key},
        "expired": {
            **tls, kafka + "SSL_CERTFILE": expired, kafka + "SSL_KEYFILE": expired_key,
        },
        "missing secret": {**SIGNED_IN, kafka + "SASL_PLAIN_PASSWORD": "",
                           kafka + "SASL_PLAIN_PASSWORD_FILE": str(folder / "gone")},
        "empty secret": {"FEEDMILL_REDIS_FILE": str(folder / "empty")},
        "both": {"FEEDMILL_REDIS": "redis://:hidden@h/0",
                 "FEEDMILL_REDIS_FILE": str(folder / "empty")},
        "Redis without TLS": {"FEEDMILL_REDIS": "redis://u:hidden@h/0",
                              "FEEDMILL_REDIS_SSL_CAFILE": certificate},
        "Redis' missing file": {"FEEDMILL_REDIS": "rediss://u:hidden@h/0",
                                "FEEDMILL_REDIS_SSL_CAFILE": str(folder / "gone.pem")},
    }  # fmt: skip


def test_mistakes_name_the_variable_and_the_way_out(
    certificates: Certificates, golden: Golden
) -> None:
    lines = []
    for what, variables in mistakes(certificates).items():
        with pytest.raises(BadCredentials) as error:
            read_environment(variables)
        text = str(error.value)
        assert "hidden" not in text
        assert text.startswith("FEEDMILL_")
        lines.append(f"{what}\n    {text.replace(str(certificates.folder), 'FOLDER')}\n")
    days = next(line for line in lines if " days ago" in line)
    lines[lines.index(days)] = days.partition(" expired ")[0] + " expired … days ago\n"
    golden.check("security_refusals.txt", "".join(lines))


@pytest.mark.parametrize("module", ["streams.worker_process", "cli.main"])
def test_a_process_ends_with_78_without_a_traceback(module: str, tmp_path: Path) -> None:
    words = ["worker"] if module == "cli.main" else []
    bad = {**SIGNED_IN, "FEEDMILL_KAFKA_SSL_CAFILE": str(tmp_path / "gone.pem")}
    done = subprocess.run(
        [sys.executable, "-m", f"feedmill.{module}", *words],
        env={**os.environ, **bad},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == os.EX_CONFIG
    assert done.stderr.startswith("feedmill: FEEDMILL_KAFKA_SSL_CAFILE: cannot read")
    assert len(done.stderr.splitlines()) == 1


def test_secrets_come_from_files_and_children_get_the_names_of_the_files(tmp_path: Path) -> None:
    address, password = tmp_path / "redis", tmp_path / "password"
    address.write_text("rediss://u:hidden-1@h:6380/0\n")
    password.write_text("hidden-2\n")
    given = {
        **SIGNED_IN,
        "FEEDMILL_KAFKA_SASL_PLAIN_PASSWORD": "",
        "FEEDMILL_KAFKA_SASL_PLAIN_PASSWORD_FILE": str(password),
        "FEEDMILL_REDIS_FILE": str(address),
    }
    environment = read_environment(given)
    assert environment.redis == "rediss://u:hidden-1@h:6380/0"
    assert environment.security.get("sasl_plain_password", "").endswith("-2")
    assert "hidden" not in repr(environment)
    variables = environment_variables(environment)
    assert "hidden" not in str(variables)
    child = read_environment(variables)
    assert (child.redis, child.security) == (environment.redis, environment.security)


def test_files_of_redis_become_a_part_of_its_address(certificates: Certificates) -> None:
    given = {"FEEDMILL_REDIS_SSL_CAFILE": str(certificates.authority)}
    more = f"ssl_ca_certs={certificates.authority}"
    assert redis_url("rediss://h:1/0", given) == f"rediss://h:1/0?{more}"
    assert redis_url("rediss+cluster://h:1,i:2", given) == f"rediss+cluster://h:1,i:2/?{more}"
    again = environment_variables(Environment(redis=redis_url("rediss://h:1/0", given)))
    assert read_environment({**again, **given}).redis == f"rediss://h:1/0?{more}"


def test_days_are_counted_to_the_end_of_a_certificate(certificates: Certificates) -> None:
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=10)
    certificate, _ = certificates.issue("soon", not_after=ends)
    days = certificates_left({"FEEDMILL_REDIS_SSL_CERTFILE": str(certificate)})
    assert round(days["FEEDMILL_REDIS_SSL_CERTFILE"], 2) == 10.0
