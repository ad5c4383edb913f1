"""A Kafka and a Redis that ask who connects: TLS, SCRAM, mutual TLS, ACLs on both.

The tests' own clients use plain listeners of loopback, where they may do everything.
"""

import json
import os
import re
import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import redis
import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import serialization as forms

from builders.debian import unpacked
from builders.engine import WORKER, Engine
from builders.patient_broker import PATIENT_BROKER
from builders.waiting import until
from feedmill.deploy.local.kafka_server import Broker, broker_serves, start_broker
from feedmill.deploy.local.process import HOST, Server, free_port
from feedmill.deploy.local.stack import redis_serves
from feedmill.streams.environment import declared_signals
from feedmill.streams.rights import ROLES, KafkaRight, Rights, redis_rules, rights_of

# Kind of resource, name without the prefix, operation.
Used = tuple[str, str, str]
# `make test-secure` names the file to which each stack adds what its users did, see `used_rights`.
SECURED_TESTS = os.environ.get("SECURED_TESTS", "")
# One line of the authorizer's log for each decision.
_AUDIT = "-Dorg.slf4j.simpleLogger.log.kafka.authorizer.logger=debug"
_DECISION = re.compile(
    r"Principal = User:(?P<user>\S+) is Allowed operation = (?P<operation>\w+)"
    r" from host = \S+ on resource = (?P<kind>\w+):LITERAL:(?P<name>\S+)"
)


class Certificates:
    """A certificate authority, and what it issued, as PEM files of a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder, self._authority = folder, trustme.CA()
        self.authority = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.authority)

    def issue(self, name: str, *hosts: str, **more: Any) -> tuple[Path, Path]:
        """Issue a certificate for hosts, or else a user of this common name; its file and key's."""
        issued = self._authority.issue_cert(*(hosts or (f"{name}.test",)), common_name=name, **more)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return certificate, key


class SecuredStack:
    """The two servers; users get what `grant` gives them, and nothing else."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.certificates = folder, Certificates(folder / "certificates")
        self.passwords: dict[str, str] = {}
        # By user its role, the prefix of its installation, and the rights that it was given.
        self.given: dict[str, tuple[str, str, Rights]] = {}
        ports: set[int] = set()
        for _ in range(7):
            ports.add(free_port(ports))
        plain, controller, sasl, mutual, expired, redis_plain, self.redis_port = ports
        own = plain, sasl, mutual, expired
        self.kafka, self.sasl, self.mutual, self.expired = (f"{HOST}:{port}" for port in own)
        # What Kafka shows at `expired`, and Redis after `serve`.
        ended = {"not_before": datetime(2019, 1, 1), "not_after": datetime(2020, 1, 1)}
        self.expired_files = self.certificates.issue("expired", HOST, **ended)
        self.redis = self.redis_url = f"redis://{HOST}:{redis_plain}/0"
        server_certificate, server_key = self.server_files = self.certificates.issue("broker", HOST)
        self._kafka, self._redis = Server("kafka", folder), Server("redis", folder)
        self._start_redis(redis_plain, server_certificate, server_key)
        store = _store(server_certificate, server_key)
        broker = Broker(1, self._kafka, plain, controller)
        with patch.dict(os.environ, {"KAFKA_JVM_PERFORMANCE_OPTS": f"{_TUNING} {_AUDIT}"}):
            start_broker(broker, [broker], self._broker_settings(broker, store))
        try:
            until(lambda: broker_serves(plain), 180)
            until(lambda: redis_serves(redis_plain), 60)
        except BaseException:
            self._stop()
            raise
        self.admin = AdminClient({"bootstrap.servers": self.kafka})
        self.client: Any = redis.Redis.from_url(self.redis_url, decode_responses=True)

    def _broker_settings(self, broker: Broker, store: Path) -> dict[str, str]:
        inside = f"PLAINTEXT://{self.kafka},CONTROLLER://{HOST}:{broker.controller_port}"
        listeners = f"SASL://{self.sasl},MUTUAL://{self.mutual},EXPIRED://{self.expired}"
        settings = {
            "listeners": f"{inside},{listeners}",
            "advertised.listeners": f"PLAINTEXT://{self.kafka},{listeners}",
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_SSL,MUTUAL:SSL,EXPIRED:SSL"
            ),
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256",
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.mutual.ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            **PATIENT_BROKER,
        }
        for mechanism in ("512", "256"):
            settings[f"listener.name.sasl.scram-sha-{mechanism}.sasl.jaas.config"] = (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            )
        stores = {"sasl": store, "mutual": store, "expired": _store(*self.expired_files)}
        for listener, pem in stores.items():
            settings |= {
                f"listener.name.{listener}.ssl.keystore.type": "PEM",
                f"listener.name.{listener}.ssl.keystore.location": str(pem),
                f"listener.name.{listener}.ssl.truststore.type": "PEM",
                f"listener.name.{listener}.ssl.truststore.location": str(
                    self.certificates.authority
                ),
            }
        return settings

    def _start_redis(self, port: int, certificate: Path, key: Path) -> None:
        program = self.folder / "redis-server"
        tools, server = unpacked("redis-tools"), unpacked("redis-server")
        program.symlink_to(tools / "usr/bin" / (server / "usr/bin/redis-server").readlink())
        libraries = [
            str(unpacked(name) / "usr/lib/x86_64-linux-gnu") for name in ("libjemalloc2", "liblzf1")
        ]
        acl = self.folder / "users.acl"
        acl.write_text("user default on nopass ~* &* +@all\n")
        options = {
            "bind": HOST,
            "port": str(port),
            "tls-port": str(self.redis_port),
            "tls-cert-file": str(certificate),
            "tls-key-file": str(key),
            "tls-ca-cert-file": str(self.certificates.authority),
            "tls-auth-clients": "optional",
            "aclfile": str(acl),
            "dir": str(self.folder),
            "save": "",
        }
        command = [str(program)]
        for name, value in options.items():
            command += [f"--{name}", value]
        self._redis.start(command, {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)})

    def serve(self, certificate: Path, key: Path) -> None:
        """Have Redis show this certificate to whoever connects from now on."""
        self.client.execute_command(
            "CONFIG", "SET", "tls-cert-file", str(certificate), "tls-key-file", str(key)
        )

    # --- users ---------------------------------------------------------------------------

    def add_user(self, user: str, password: str = "") -> str:
        """Give a user of both servers a password, a new one if there is one already."""
        password = password or secrets.token_hex(12)
        change = UserScramCredentialUpsertion(
            user,
            ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096),
            password.encode(),
        )
        for done in self.admin.alter_user_scram_credentials([change]).values():
            done.result(30)
        self.redis_rules(user, "on", "resetpass", f">{password}")
        self.passwords[user] = password
        return password

    def user_of(
        self, engine: Any, role: str, signal: str = "", *, name: str = ""
    ) -> dict[str, str]:
        """Return how a user signs in who has a role's rights of the table in an engine."""
        user = f"{name or role}-{engine.prefix[:-1]}"
        if user not in self.passwords:
            self.add_user(user)
            rights = rights_of(role, declared_signals(engine.signals), signal)
            self.given[user] = role, engine.prefix, rights
            self.allow(user, engine.prefix, rights.kafka)
            if rights.redis is not None:
                self.redis_rules(user, *redis_rules(rights.redis, engine.prefix))
        return self.variables(user)

    def redis_rules(self, user: str, *rules: str) -> None:
        """Change what a user may do in Redis."""
        self.client.execute_command("ACL", "SETUSER", user, *rules)

    def allow(self, user: str, prefix: str, rights: Iterable[KafkaRight]) -> None:
        """Give a user rights of Kafka, named without the prefix."""
        made = [binding(user, prefix, right) for right in rights]
        for done in self.admin.create_acls(made).values() if made else ():
            done.result(30)

    def take(self, user: str, prefix: str, right: KafkaRight) -> None:
        """Take one right away."""
        one = binding(user, prefix, right)
        wanted = AclBindingFilter(
            one.restype, one.name, one.resource_pattern_type, one.principal, "*", one.operation,
            one.permission_type,
        )  # fmt: skip
        for done in self.admin.delete_acls([wanted]).values():
            assert done.result(30)

    def variables(self, user: str) -> dict[str, str]:
        """The settings of a process that signs in as a user, with SCRAM and TLS: all from files."""
        password = self.passwords[user]
        files = {name: self.folder / f"{user}.{name}" for name in ("kafka", "redis")}
        files["kafka"].write_text(password)
        files["redis"].write_text(f"rediss://{user}:{password}@{HOST}:{self.redis_port}/0")
        return {
            "FEEDMILL_KAFKA": self.sasl,
            "FEEDMILL_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "FEEDMILL_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "FEEDMILL_KAFKA_SASL_PLAIN_USERNAME": user,
            "FEEDMILL_KAFKA_SASL_PLAIN_PASSWORD_FILE": str(files["kafka"]),
            "FEEDMILL_KAFKA_SSL_CAFILE": str(self.certificates.authority),
            "FEEDMILL_REDIS": "",
            "FEEDMILL_REDIS_FILE": str(files["redis"]),
            "FEEDMILL_REDIS_SSL_CAFILE": str(self.certificates.authority),
        }

    def mutual_variables(self, user: str, *files: Path) -> dict[str, str]:
        """The settings of a process that signs in by a certificate and its key, or by none."""
        found = {n: text for n, text in self.variables(user).items() if "_SASL_" not in n}
        names = ("FEEDMILL_KAFKA_SSL_CERTFILE", "FEEDMILL_KAFKA_SSL_KEYFILE")
        own = dict(zip(names, map(str, files), strict=False))
        mutual = {"FEEDMILL_KAFKA": self.mutual, "FEEDMILL_KAFKA_SECURITY_PROTOCOL": "SSL"}
        return {**found, **mutual, **own}

    def sign_in(self, engine: Engine, stages: str) -> dict[str, str]:
        """Return how workers of some stages, or a role, sign in with the rights of the role."""
        if engine.kafka != self.kafka:
            return {}
        ranks = stages == WORKER or "combiner" in stages
        role = ("ranker" if stages == "combiner" else "worker") if ranks else "judge"
        found = self.user_of(engine, stages if stages in ROLES else role)
        # A stage that the worker's own tree has is a program's signal to this process.
        for name in {*stages.split("+")} & {*declared_signals(engine.signals).own}:
            user = found["FEEDMILL_KAFKA_SASL_PLAIN_USERNAME"]
            write = KafkaRight("topic", f"signals.{name}", "Write")
            self.allow(user, engine.prefix, [write])
            role, prefix, rights = self.given[user]
            self.given[user] = role, prefix, replace(rights, kafka=(*rights.kafka, write))
        if engine.redis_url == self.redis_url:
            return found
        return {name: text for name, text in found.items() if "_REDIS" not in name}

    def compared(self) -> dict[str, tuple[set[Used], set[Used]]]:
        """By user the rows of the table that it used, and what it was allowed beside them."""
        allowed: dict[str, set[Used]] = defaultdict(set)
        with self._kafka.log_file.open("r", encoding="utf-8", errors="replace") as log:
            for one in filter(None, map(_DECISION.search, log)):
                allowed[one["user"]].add((one["kind"], one["name"], one["operation"]))
        return {
            user: _compared(rows_of(rights), prefix, allowed[user])
            for user, (_, prefix, rights) in self.given.items()
        }

    def called(self) -> set[str]:
        """The commands that Redis was called for, whoever did."""
        stats = self.client.info("commandstats")
        return {name.removeprefix("cmdstat_") for name, one in stats.items() if one["calls"]}

    def _note_uses(self, path: Path) -> None:
        lines: list[Mapping[str, object]] = [{"role": "", "called": sorted(self.called())}]
        for user, (used, beside) in self.compared().items():
            role, _, rights = self.given[user]
            rows = sorted(rows_of(rights).items())
            found = {"role": role, "rows": rows, "used": sorted(used), "beside": sorted(beside)}
            lines.append(found)
        with path.open("a") as file:
            file.write("".join(f"{json.dumps(line)}\n" for line in lines))

    def close(self) -> None:
        """Stop the servers."""
        try:
            if SECURED_TESTS:
                self._note_uses(Path(SECURED_TESTS))
        finally:
            self.client.close()
            self._stop()

    def _stop(self) -> None:
        self._redis.stop(10)
        self._kafka.stop(30)


_TUNING = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmn24m"
_KINDS: Mapping[str, ResourceType] = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
    "cluster": ResourceType.BROKER,
}


def binding(user: str, prefix: str, right: KafkaRight) -> AclBinding:
    """A right as Kafka's admin client has it."""
    name = right.full_name(prefix) or "*"
    is_prefix = right.is_prefix and name != "*"
    pattern = ResourcePatternType.PREFIXED if is_prefix else ResourcePatternType.LITERAL
    operation = re.sub(r"(?<!^)(?=[A-Z])", "_", right.operation).upper()
    return AclBinding(
        _KINDS[right.kind], name, pattern, f"User:{user}", "*",
        AclOperation[operation], AclPermissionType.ALLOW,
    )  # fmt: skip


def rows_of(rights: Rights) -> dict[Used, bool]:
    """Rows of the table as the authorizer names them; whether faults alone use each."""
    return {
        (right.kind.replace("-", ""), right.name, right.operation): right.at_faults
        for right in rights.kafka
    }


def _compared(
    table: Mapping[Used, bool], prefix: str, allowed: Iterable[Used]
) -> tuple[set[Used], set[Used]]:
    used, beside = set(), set()
    for upper_kind, full_name, upper in allowed:
        kind, name = upper_kind.lower(), full_name.removeprefix(prefix)
        operation = upper.title().replace("_", "")
        if kind in ("transactionalid", "group"):
            starts = ("worker", "change-", "restore")
            name = next((start for start in starts if name.startswith(start)), name)
        name = "" if kind == "cluster" else name
        # A row without a name is about every topic.
        rows = {(kind, name, operation), (kind, "", operation)} & table.keys()
        used |= rows
        # Each of these rights has Describe in it.
        is_part = operation.startswith("Describe") and any(row[:2] == (kind, name) for row in table)
        if not rows and not is_part:
            beside.add((kind, name, operation))
    return used, beside


def _store(certificate: Path, key: Path) -> Path:
    """Key and certificate in a file, as Kafka reads them."""
    loaded = forms.load_pem_private_key(key.read_bytes(), None)
    pem = forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()
    store = certificate.with_suffix(".store")
    store.write_bytes(loaded.private_bytes(*pem) + certificate.read_bytes())
    return store
