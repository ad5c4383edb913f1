"""Each planted misconfiguration is named, and its way out works; a healthy one has no finding."""

import importlib.metadata
import json
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from builders import misconfigurations, misconfigured_instances, misconfigured_redis
from builders.examined import Examined, commands_of, examined
from builders.lost_markers import leave_open
from builders.misconfigurations import Misconfiguration
from builders.waiting import now_ms
from feedmill.deploy.local import StackAddress
from feedmill.operations.status import process, redis_server, workers
from feedmill.operations.status.health import DOCTOR_CHECKS
from feedmill.streams.releases.release_log import ReleaseFold

TABLE = (*misconfigurations.TABLE, *misconfigured_redis.TABLE, *misconfigured_instances.TABLE)


@pytest.fixture(scope="module")
def place(stack: StackAddress) -> Iterator[Examined]:
    found = examined(stack)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def _as_before(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give the next test the variables, settings and instances that this one found."""
    yield
    if "place" in request.fixturenames:
        found: Examined = request.getfixturevalue("place")
        found.variables = found.own_variables()
        found.ahead_ms = 0
        found.leave()
        found.part()
        found.client.flushall()
        for key in ("weights", "gates", "rules/nsfw", "feeds/long"):
            found.set(key, None)


def nothing_is_found(place: Examined) -> None:
    result = place.run("doctor --json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["findings"] == []
    assert (report["skipped"], report["checks"] > 40) == (0, True)


def test_a_fresh_installation_has_nothing(place: Examined) -> None:
    before = place.state()
    nothing_is_found(place)
    assert place.state() == before


@pytest.mark.parametrize("one", TABLE, ids=lambda one: one.name)
def test_what_is_planted_is_named_and_its_way_out_works(
    place: Examined, one: Misconfiguration
) -> None:
    assert place.found(one.check, one.says) == []
    one.plant(place)
    found = place.found(one.check, one.says)
    assert found, place.found(one.check, "")
    assert {finding.severity for finding in found} == {one.severity}
    assert all(finding.where and finding.way_out for finding in found)
    one.mend(place, found[0])
    assert place.found(one.check, one.says) == []


def test_a_transaction_that_hangs_is_named_and_ended(
    place: Examined, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_open(place.kafka, f"{place.prefix}gone", place.topic("config"), 0, [(b"weights", b"x")])
    # What wrote within a minute may be about to end.
    assert place.found(workers.hanging_transactions, "") == []
    place.ahead_ms = 61_000
    (found,) = place.found(workers.hanging_transactions, "never end")
    assert f"{place.topic('config')}[0]" in found.where
    monkeypatch.setattr("feedmill.cli.topics.now_ms", lambda: now_ms() + place.ahead_ms)
    place.follow(commands_of(found.way_out)[0])
    assert place.found(workers.hanging_transactions, "") == []


def test_a_transaction_that_stays_open_is_named_until_its_writer_ends_it(place: Examined) -> None:
    name = f"{place.prefix}upstream"
    upstream = Producer({"bootstrap.servers": place.kafka, "transactional.id": name})
    upstream.init_transactions(20)
    upstream.begin_transaction()
    upstream.produce(place.topic("config"), b"{}", b"weights", 0)
    upstream.flush(20)
    assert place.found(workers.open_transactions, "") == []
    place.ahead_ms = 61_000
    (found,) = place.found(workers.open_transactions, "has written nothing for")
    assert (found.severity, f"{place.topic('config')}[0]" in found.where) == ("warn", True)
    assert place.found(workers.hanging_transactions, "") == []
    upstream.abort_transaction(20)
    assert place.found(workers.open_transactions, "") == []


def test_libraries_that_are_too_old_are_named(
    place: Examined, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "2.3.0" if name == "msgspec" else version(name)
    )
    assert place.found(process.libraries, "") == []
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0.9.1" if name == "msgspec" else version(name)
    )
    (found,) = place.found(process.libraries, "msgspec 0.9.1, expected 0.19 or later")
    assert "`pip install 'msgspec>=0.19'`" in found.way_out


def test_commands_of_ways_out_have_the_flags_that_were_given(place: Examined) -> None:
    new = place.prefix.removesuffix(".") + "-new."
    flags = f"--kafka {place.kafka} --prefix {new}"
    (finding,) = json.loads(place.run(f"doctor --json {flags}").stdout)["findings"]
    assert f"`feedmill topics create --partitions 4 {flags}`" in finding["way_out"]


def test_a_check_that_fails_is_a_finding_and_the_others_are_made(
    place: Examined, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReleaseFold, "lists_in_force", lambda *_: 1 / 0)
    report = json.loads(place.run("doctor --json").stdout)
    (finding,) = report["findings"]
    assert (finding["check"], report["checks"]) == ("lists", len(DOCTOR_CHECKS))
    assert "division by zero" in finding["what"]


def test_without_the_right_to_ask_a_check_says_which_right_it_needs(place: Examined) -> None:
    rules = ("on", ">pass", "~*", "&*", "+@all", "-config")
    place.client.execute_command("ACL", "SETUSER", "watcher", *rules)
    place.variables["FEEDMILL_REDIS"] = place.redis.url.replace("//", "//watcher:pass@")
    (finding,) = place.found(redis_server.redis_encodings, "needs a right")
    assert (finding.severity, "+config|get" in finding.way_out) == ("warn", True)
    place.client.execute_command("ACL", "SETUSER", "watcher", "+config|get")
    assert place.found(redis_server.redis_encodings, "") == []


@pytest.mark.parametrize("server", ["kafka", "redis"])
def test_a_server_that_is_away_is_one_finding_and_what_needs_the_other_is_examined(
    place: Examined, server: str
) -> None:
    away = {"kafka": "127.0.0.1:1", "redis": "redis://127.0.0.1:1/0"}
    place.variables[f"FEEDMILL_{server.upper()}"] = away[server]
    place.variables["FEEDMILL_PROT"] = "1"
    result = place.run("doctor --json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert [one["check"] for one in report["findings"]] == [server, "variables"]
    assert report["checks"] + report["skipped"] == len(DOCTOR_CHECKS)
    assert report["checks"] > 10


def test_a_redis_that_stands_still_is_named(place: Examined) -> None:
    place.redis.freeze()
    try:
        (finding,) = json.loads(place.run("doctor --json").stdout)["findings"]
    finally:
        place.redis.go_on()
    assert (finding["check"], "imeout" in finding["what"]) == ("redis", True)


def test_afterwards_nothing_is_left_of_all_that(place: Examined) -> None:
    # Letters that were sent again, and groups that were left, are no findings.
    nothing_is_found(place)
