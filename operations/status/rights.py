"""Whether a user has the rights of its role in Kafka and Redis, no fewer and no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import redis
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from feedmill.operations.status.finding import Finding
from feedmill.operations.status.installation import Check, Installation
from feedmill.operations.status.redis_server import CALLS
from feedmill.streams.kafka.client import ClientHealth, client_settings
from feedmill.streams.kafka.offsets import operations_of
from feedmill.streams.rights import KafkaRight, RedisRights, Rights, kafka_acls

_WITHIN_S = 10.0
# Each of these allows Describe as well, and AlterConfigs its Describe.
_IMPLY_DESCRIBE = {"Read", "Write", "Delete", "Alter"}
# Calls of Redis whose arguments are not those of `CALLS`; "{key}" and "{channel}" are ours.
_MORE_CALLS: Mapping[str, Sequence[str]] = {
    **{"hgetall": ("{key}",), "hget": ("{key}", "f"), "type": ("{key}",)},
    **{"zrevrange": ("{key}", "0", "1"), "zrevrank": ("{key}", "x")},
    **{"evalsha": ("0" * 40, "1", "{key}"), "script|load": ("return 1",), "echo": ("x",)},
    **{"publish": ("{channel}", "x"), "subscribe": ("{channel}",), "rename": ("{key}", "{key}")},
    **{"config|get": ("save",), "acl|dryrun": ("default", "ping")},
}
# What no role needs, and would do harm.
_HARMFUL: Mapping[str, Sequence[str]] = {
    **{"flushall": (), "keys": ("*",), "scan": ("0",), "config|set": ("save", "")},
    **{"acl|list": (), "shutdown": (), "set": ("{key}", "x"), "del": ("{key}",)},
}


def rights_checks(role: str, rights: Rights) -> tuple[Check, ...]:
    """Return the checks of a role."""
    checks = partial(_kafka_rights, role, rights), partial(_redis_rights, role, rights.redis)
    for check, name in zip(checks, ("rights in kafka", "rights in redis"), strict=True):
        check.__dict__["__name__"] = name
    return checks


def _kafka_rights(role: str, rights: Rights, inst: Installation) -> Iterator[Finding]:
    environment, where = inst.environment, f"Kafka at {inst.environment.kafka}"
    allowed = _allowed(inst, rights.kafka)
    user = environment.user or "a user without a name"
    principal = f"User:{environment.security.get('sasl_plain_username') or 'NAME'}"
    missing, needed = list[KafkaRight](), dict[tuple[str, str], set[str]]()
    for right in rights.kafka:
        for place in [at for at in allowed if _is_of(right, *at)]:
            needed.setdefault(place, set()).add(right.operation)
            if right.operation not in allowed[place] and right not in missing:
                missing.append(right)
    for right in missing:
        (command,) = kafka_acls([right], principal, environment.topic_prefix, environment.kafka)
        name = right.full_name(environment.topic_prefix) or "*"
        what = f"the user {user} may not {right.operation} the {right.kind} `{name}`"
        what += ", which only faults use" if right.at_faults else ""
        yield Finding("warn" if right.at_faults else "wrong", what, where, f"`{command}`")
    more = []
    for (kind, name), operations in allowed.items():
        wanted = needed.get((kind, name), set())
        wanted |= {"Describe"} if wanted & _IMPLY_DESCRIBE else set()
        wanted |= {"DescribeConfigs"} if "AlterConfigs" in wanted else set()
        more += [f"{one} {kind} `{name}`" for one in sorted(operations - wanted)]
    if more:
        what = f"the user {user} may do more than a {role} needs: {', '.join(more)}"
        yield Finding("warn", what, where, "`kafka-acls.sh --remove` takes rights away")


def _is_of(right: KafkaRight, kind: str, name: str) -> bool:
    same = name.startswith(right.name) if right.is_prefix else name == right.name
    return right.kind == kind and (kind == "cluster" or same)


def _allowed(inst: Installation, rights: Sequence[KafkaRight]) -> dict[tuple[str, str], set[str]]:
    """Return the operations by kind and name, without prefix; what does not exist is left out."""
    environment = inst.environment
    admin = AdminClient(client_settings(environment, ClientHealth()) | {"log_level": 0})
    asks = {"request_timeout": _WITHIN_S, "include_authorized_operations": True}
    names = {environment.topic(name): name for name in inst.table}
    groups = {environment.group(one.name): one.name for one in rights if one.kind == "group"}
    answers = {
        **{
            ("topic", names[full]): answer
            for full, answer in admin.describe_topics(TopicCollection([*names]), **asks).items()
        },
        **{
            ("group", groups[full]): answer
            for full, answer in (
                admin.describe_consumer_groups([*groups], **asks) if groups else {}
            ).items()
        },
        ("cluster", ""): admin.describe_cluster(**asks),
    }
    found = {}
    for place, answer in answers.items():
        try:
            found[place] = operations_of(answer.result()) or set()
        except KafkaException as error:
            if error.args[0].code() in (
                KafkaError.TOPIC_AUTHORIZATION_FAILED,
                KafkaError.GROUP_AUTHORIZATION_FAILED,
            ):
                found[place] = set()
            elif error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
    return found


def _redis_rights(role: str, rights: RedisRights | None, inst: Installation) -> Iterator[Finding]:
    if rights is None:
        return
    where = f"Redis at {inst.environment.redis_address}"
    prefix, ask = inst.environment.redis_prefix, inst.redis.execute_command
    try:
        user = ask("ACL WHOAMI")
        ask("ACL DRYRUN", user, "ping")
    except redis.exceptions.NoPermissionError:
        what = "Redis does not tell this user what it may do"
        way_out = "`ACL SETUSER <user> +acl|whoami +acl|dryrun`, and look again"
        yield Finding("warn", what, where, way_out)
        return

    def may(command: str, key: str) -> bool:
        arguments = {**{n.lower(): ("{key}", *more) for n, more in CALLS.items()}, **_MORE_CALLS}
        channel = prefix + "feed-changes"
        words = {**arguments, **_HARMFUL}.get(command, ())
        call = [word.format(key=key, channel=channel) for word in words]
        return str(ask("ACL DRYRUN", user, *command.split("|"), *call)) == "OK"

    for access, patterns in rights.keys.items():
        key = prefix + patterns[0].replace("*", "{global}")
        if missing := [name for name in rights.commands if not may(name, key)]:
            granted = " ".join(f"+{name}" for name in missing)
            keys = " ".join(f"%{access}~{prefix}{pattern}" for pattern in patterns)
            channels = " ".join(f"&{prefix}{channel}" for channel in rights.channels)
            yield Finding(
                "wrong",
                f"the user `{user}` may not call {', '.join(missing)} on `{key}`",
                where,
                f"`ACL SETUSER {user} {granted} {keys} {channels}".rstrip() + "`",
            )
        harmful = [name for name in _HARMFUL if name not in rights.commands and may(name, key)]
        if harmful:
            what = f"the user `{user}` may do more than a {role} needs: {', '.join(harmful)}"
            taken = " ".join(f"-{name}" for name in harmful)
            yield Finding("warn", what, where, f"`ACL SETUSER {user} {taken}`")
