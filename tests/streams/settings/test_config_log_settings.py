"""How a worker applies the records of `config`."""

import json
import time
from itertools import pairwise
from typing import Any

from builders.kafka_log import KafkaLog, until
from builders.records import StoredRecord
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.settings.config_log import SettingsFold, SettingsLog


def weights(offset: int, quality: Any, key: bytes | None = b"weights") -> StoredRecord:
    value = json.dumps({"value": {"quality": quality, "engagement": 1}}).encode()
    return StoredRecord(offset, key=key, value=value)


def folded(*records: StoredRecord) -> SettingsFold:
    fold = SettingsFold(Environment())
    fold.apply(records)
    return fold


def test_a_refused_record_keeps_the_old_value_and_is_reported() -> None:
    fold = folded(weights(0, 1), weights(1, -1), weights(2, 3, b"\xff" * 300))
    assert fold.settings.weights_of("").objectives["quality"] == 1.0
    assert fold.settings.offset == 2
    negative, nameless = fold.refused
    assert (negative.key, negative.offset) == ("weights", 1)
    assert negative.reason == "Expected `float` >= 0.0 - at `$.value.quality`"
    assert (nameless.key, nameless.offset) == ("\ufffd" * 256, 2)
    assert fold.refused_count == 2


def test_only_the_last_refusals_are_kept() -> None:
    long = StoredRecord(205, 7, b"weights", b'{"value": {"' + b"k" * 5_000 + b'": 1}}')
    fold = folded(*(weights(offset, -1) for offset in range(205)), long)
    assert [each.offset for each in fold.refused] == list(range(196, 206))
    assert fold.refused_count == 206
    assert 400 < len(fold.refused[-1].reason) <= 500


def test_settings_say_as_before_where_all_that_came_was_refused() -> None:
    fold = folded(weights(0, 1))
    before = fold.settings
    fold.apply([weights(1, -1)])
    assert fold.settings.offset == 1
    assert fold.settings.says_as(before)
    fold.apply([weights(2, 1)])
    assert not fold.settings.says_as(before)


def test_an_owner_that_comes_back_knows_every_setting_before_it_goes_on(kafka: KafkaLog) -> None:
    log = SettingsLog(Connection(kafka.environment))
    until(log.log.all_restored, log.follow)
    count = 5_000
    kafka.produce("config", [(r.key, r.value) for r in (weights(n, n) for n in range(count))])
    log.log.restore_again()
    assert not log.log.all_restored()
    until(log.log.all_restored, log.follow)
    assert log.settings.weights_of("").objectives["quality"] == count - 1
    log.close()


def test_a_start_reads_a_long_log_a_part_at_a_time(kafka: KafkaLog) -> None:
    count = 20_000
    kafka.produce("config", [(r.key, r.value) for r in (weights(n, n) for n in range(count))])
    log = SettingsLog(Connection(kafka.environment))
    offsets = [-1]

    def turn() -> None:
        log.follow()
        offsets.append(log.settings.offset)
        # The client fetches as much as it keeps.
        time.sleep(0.002)

    until(log.log.all_restored, turn)
    assert offsets[-1] == count - 1
    assert max(b - a for a, b in pairwise(offsets)) <= 1000
    log.close()
