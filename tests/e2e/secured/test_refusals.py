"""What each client says where Kafka or Redis refuses it: what is wrong, and the way out.

At night a worker, a ranker and kafka-python are asked, too.
"""

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from builders.golden import Golden
from builders.secured_stack import SECURED_TESTS, Certificates, SecuredStack
from builders.waiting import until
from feedmill.deploy.local.process import HOST, free_port
from feedmill.streams.environment import declared_signals
from feedmill.streams.kafka import topics

EXAMPLES = Path(__file__).parents[3] / "examples"
DECLARED = "novelty:objective"
CLIENTS = {
    "kafka-python": ("-m", "feedmill.cli.main", "groups", "list"),
    "librdkafka": ("-m", "feedmill.cli.main", "config", "get"),
    "redis-py": ("-m", "feedmill.cli.main", "feed", "global"),
    "worker": ("-m", "feedmill.streams.worker_process", "quality"),
    "ranker": ("-m", "feedmill.streams.worker_process", "combiner"),
    "faust": (str(EXAMPLES / "novelty_signal.py"), "worker", "--without-web", "-l", "error"),
}
COMMANDS_ALONE = {"kafka-python", "librdkafka", "redis-py"}
OF_REDIS = {"redis-py", "ranker"}


def mistakes_in_kafka(secured: SecuredStack, folder: Path) -> dict[str, dict[str, str]]:
    """Variables by what is wrong with them; the rest of them is right."""
    right, kafka = secured.variables("mistaken"), "FEEDMILL_KAFKA"
    other = Certificates(folder / "other")
    password = folder / "password"
    password.write_text("wrong-and-hidden")
    plain = {name: text for name, text in right.items() if name.startswith("FEEDMILL_REDIS")}
    elsewhere = secured.sasl.replace("127.0.0.1", "localhost")
    return {
        "wrong password": {**right, f"{kafka}_SASL_PLAIN_PASSWORD_FILE": str(password)},
        "another authority": {**right, f"{kafka}_SSL_CAFILE": str(other.authority)},
        "another host name": {**right, kafka: elsewhere},
        "the server's certificate expired": {
            **secured.mutual_variables("mistaken"),
            kafka: secured.expired,
        },
        "plain text to a TLS port": {**plain, kafka: secured.sasl},
        "TLS to a plain port": {**right, kafka: secured.kafka},
        "no certificate": secured.mutual_variables("mistaken"),
        "a certificate of another authority": secured.mutual_variables(
            "mistaken", *other.issue("mistaken")
        ),
        "another user's certificate": secured.mutual_variables(
            "mistaken", *secured.certificates.issue("stranger")
        ),
    }


def mistakes_in_redis(secured: SecuredStack, folder: Path) -> dict[str, dict[str, str]]:
    right, redis_ = {**secured.variables("mistaken"), "FEEDMILL_KAFKA": secured.kafka}, {}
    right = {name: text for name, text in right.items() if not name.startswith("FEEDMILL_KAFKA_")}
    address = Path(right["FEEDMILL_REDIS_FILE"]).read_text()
    changes = {"wrong password": ("right-and", "bad-and"), "another host name": (HOST, "localhost")}
    for what, change in changes.items():
        file = folder / what
        file.write_text(address.replace(*change))
        redis_[what] = {**right, "FEEDMILL_REDIS_FILE": str(file)}
    without = {name: text for name, text in right.items() if "_SSL_" not in name}
    (folder / "plain").write_text(address.replace("rediss", "redis"))
    other = str(Certificates(folder / "others").authority)
    return {
        **redis_,
        "another authority": {**right, "FEEDMILL_REDIS_SSL_CAFILE": other},
        "plain text to a TLS port": {**without, "FEEDMILL_REDIS_FILE": str(folder / "plain")},
    }


def said_by(client: str, folder: Path, mistake: tuple[str, dict[str, str]]) -> str:
    """What a client says of a mistake: a command before it ends, a process while it goes on."""
    what, variables = mistake
    port, log = free_port(set()), folder / f"{client} {what}.log"
    own = {"FEEDMILL_TOPIC_PREFIX": "refused.", "FEEDMILL_SIGNALS": DECLARED}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("FEEDMILL_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *CLIENTS[client]],
            env={**inherited, **own, "FEEDMILL_PORT": str(port), **variables},
            cwd=folder,
            stdout=output,
            stderr=output,
        )
    try:
        if client in COMMANDS_ALONE:
            assert process.wait(120) == 1, (what, log.read_text())
            said = log.read_text()
        elif client == "faust":
            said = until(lambda: re.search(r"Kafka at .*", log.read_text()), 90)[0]
        else:
            said = until(partial(not_ready, port, CLIENTS[client]), 90)
        assert client in COMMANDS_ALONE or process.poll() is None
    finally:
        process.kill()
        process.wait()
    found = log.read_text() + said
    assert "Traceback" not in found
    assert "hidden" not in found
    return f"{what}\n    {said.strip()}\n"


def not_ready(port: int, client: Sequence[str]) -> str:
    """The reason of a server that a worker's page gives; "" as long as there is another one."""
    try:
        urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=10)
    except urllib.error.HTTPError as error:
        said = error.read().decode()
        # What librdkafka itself reports comes and goes.
        is_it = ("Redis" if client[-1] == "combiner" else "Kafka: ") in said
        return said if is_it and "KafkaError" not in said else ""
    except OSError:
        pass
    return ""


@pytest.mark.parametrize(
    "client", CLIENTS if SECURED_TESTS else ["librdkafka", "redis-py", "faust"]
)
def test_what_a_server_refuses_is_said_with_the_way_out(
    secured: SecuredStack, tmp_path: Path, golden: Golden, client: str
) -> None:
    secured.add_user("mistaken", "right-and-hidden")
    if client == "ranker":
        topics.create(secured.kafka, "refused.", 1, declared_signals(DECLARED).all)
    mistakes = (mistakes_in_redis if client in OF_REDIS else mistakes_in_kafka)(secured, tmp_path)
    if client == "kafka-python":  # Kafka lists such a user nothing.
        del mistakes["another user's certificate"]
    with ThreadPoolExecutor(9) as pool:
        lines = [*pool.map(partial(said_by, client, tmp_path), mistakes.items())]
    if client in OF_REDIS:
        secured.serve(*secured.expired_files)
        right = {**secured.mutual_variables("mistaken"), "FEEDMILL_KAFKA": secured.kafka}
        del right["FEEDMILL_KAFKA_SECURITY_PROTOCOL"], right["FEEDMILL_KAFKA_SSL_CAFILE"]
        try:
            lines.append(said_by(client, tmp_path, ("the server's certificate expired", right)))
        finally:
            secured.serve(*secured.server_files)
    said = "".join(lines).replace(str(secured.folder), "FOLDER")
    text = re.sub(r"(127\.0\.0\.1|localhost):\d+", r"\1:PORT", said)
    golden.check(f"refused_{client}.txt", re.sub(r"\(_ssl\.c:\d+\)", "(_ssl.c)", text))
