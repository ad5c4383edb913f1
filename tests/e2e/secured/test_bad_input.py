"""What only a server can refuse: each is told with the way out, without a traceback or a secret."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from builders.golden import Golden
from builders.secured_stack import Certificates, SecuredStack

WRONG = "wrong-and-hidden"


def mistakes(secured: SecuredStack, folder: Path) -> dict[str, dict[str, str]]:
    """Variables by what is wrong with them; the rest of them is right."""
    secured.add_user("viewer", "right-and-hidden")
    right, kafka = secured.variables("viewer"), "FEEDMILL_KAFKA_"
    other = str(Certificates(folder / "other").authority)
    certificate, key = map(str, Certificates(folder / "another").issue("viewer"))
    redis = right["FEEDMILL_REDIS"]
    tls = {
        **{name: text for name, text in right.items() if "_SASL_" not in name},
        kafka + "SECURITY_PROTOCOL": "SSL",
        "FEEDMILL_KAFKA": secured.mutual,
    }
    return {
        "kafka: wrong password": {**right, kafka + "SASL_PLAIN_PASSWORD": WRONG},
        "kafka: another authority": {**right, kafka + "SSL_CAFILE": other},
        "kafka: plain text to a TLS port": {
            "FEEDMILL_KAFKA": secured.sasl,
            "FEEDMILL_REDIS": redis,
        },
        "kafka: no certificate": tls,
        "kafka: a certificate of another authority": {
            **tls,
            kafka + "SSL_CERTFILE": certificate,
            kafka + "SSL_KEYFILE": key,
        },
        "redis: wrong password": {**right, "FEEDMILL_REDIS": redis.replace("right-and", "bad-and")},
        "redis: another authority": {
            **right,
            "FEEDMILL_REDIS": redis.partition("?")[0],
            "FEEDMILL_REDIS_SSL_CAFILE": other,
        },
        "redis: plain text to a TLS port": {
            **right,
            "FEEDMILL_REDIS": redis.partition("?")[0].replace("rediss", "redis"),
        },
    }


@pytest.mark.parametrize(
    ("server", "words"), [("kafka", ("groups", "list")), ("redis", ("feed", "global"))]
)
def test_a_command_says_what_the_server_refused(
    secured: SecuredStack, tmp_path: Path, golden: Golden, server: str, words: tuple[str, ...]
) -> None:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("FEEDMILL_")}
    lines = []
    for what, variables in mistakes(secured, tmp_path).items():
        if not what.startswith(server):
            continue
        done = subprocess.run(
            [sys.executable, "-m", "feedmill.cli.main", *words],
            env={**inherited, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 1, said
        assert "Traceback" not in said
        assert "hidden" not in said
        lines.append(f"{what}\n    {said.strip()}\n")
    text = re.sub(r"(127\.0\.0\.1):\d+", r"\1:PORT", "".join(lines))
    golden.check(f"refused_by_{server}.txt", re.sub(r"\(_ssl\.c:\d+\)", "(_ssl.c)", text))
