"""Who ranks: the owner of `feed-shards[0]`, under the token of its latest claim there.

A claim is written in the owner's transaction, so no former owner can write one any more.  Its token
is the broker's timestamp of it, or one more than the highest token that its owner knew, whichever
is higher.  So it is above that of every former owner, a combiner in a process of its own included,
and neither a flush of Redis, nor a lagging replica, nor a clock of the broker that is put back
lowers it.  Where Redis still has a higher one, as after a topic was made anew, its owner claims
again.
"""

from __future__ import annotations

import time
import uuid

import msgspec

from feedmill.streams.kafka.assignment import SHARDS, AssignmentChange
from feedmill.streams.kafka.batches import Record, TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import BEGINNING, LogConsumer
from feedmill.streams.worker.step import Writer

# Where no claim is on its way, nothing of interest comes; but a client must be polled.
_READ_EVERY_S = 0.05
RANKING = TopicPartition(SHARDS, 0)
# So seldom a claim is repeated: two owners that do not know of each other would do nothing else.
_AGAIN_AFTER_S = 5.0
# Lua's numbers are exact so far.
_MOST_TOKEN = 1 << 53


class Claim(msgspec.Struct, frozen=True):
    """The value of a record: its token is higher than `above`."""

    instance: str
    above: int


_decode = msgspec.json.Decoder(Claim).decode
_encode = msgspec.json.Encoder().encode


def token_of(record: Record) -> int:
    """Return the token of a claim; that of a record that is none is its timestamp."""
    try:
        above = _decode(record.value or b"").above
    except msgspec.MsgspecError:
        above = 0
    return max(record.timestamp, above + 1 if above < _MOST_TOKEN else 0)


class RankingClaim:
    """Claims the ranking after an assignment, and knows the token while it holds.

    Attributes
    ----------
    token
        That of the claim; None while this worker must not write Redis.
    """

    def __init__(self, connection: Connection) -> None:
        self.token: int | None = None
        self._instance = connection.environment.instance
        self._log = LogConsumer(connection, "claims on the ranking")
        self._log.add({RANKING: BEGINNING})
        self._claim = b""
        self._highest = 0
        self._is_wanted = False
        self._read_at = 0.0
        self._outdone_at = -_AGAIN_AFTER_S

    @property
    def is_wanted(self) -> bool:
        """Whether this worker is the one to rank."""
        return self._is_wanted

    def assigned(self, change: AssignmentChange) -> None:
        """Give the ranking up, or get ready to claim it, as the assignment has it."""
        if RANKING.partition in change.shards_kept:
            return
        self.token, self._claim = None, b""
        self._is_wanted = RANKING.partition in change.shards_gained

    def outdone(self, token: int) -> bool:
        """Give the token up where Redis has a higher one, to claim again; return whether it did."""
        now_s = time.monotonic()
        is_due = now_s >= self._outdone_at + _AGAIN_AFTER_S
        if self.token is None or token <= self.token or not is_due:
            return False
        self._outdone_at, self._highest = now_s, max(self._highest, token)
        self.token, self._claim = None, b""
        return True

    def follow(self, writer: Writer, *, is_restored: bool) -> bool:
        """Claim once everything is read; return whether the token is new.  Never waits."""
        now_s = time.monotonic()
        if (self._is_wanted and self.token is None) or now_s >= self._read_at:
            self._read_at = now_s + _READ_EVERY_S
            if self._read():
                return True
        if self._is_wanted and is_restored and not self._claim and self._log.all_restored():
            self._claim = f"{self._instance}/{uuid.uuid4().hex}".encode()
            claim = _encode(Claim(self._instance, self._highest))
            writer.add(RANKING.topic, self._claim, claim, owner=RANKING)
        return False

    def _read(self) -> bool:
        """Take what came; return whether this worker's claim is among it."""
        before = self.token
        for batch in self._log.read(1000):
            for record in batch.records:
                token = token_of(record)
                self._highest = max(self._highest, token)
                if self._claim and record.key == self._claim:
                    self.token = token
        return self.token != before

    def ready_reason(self) -> str:
        """Say what is waited for; "" where another worker ranks, or this one does."""
        return "claiming the ranking" if self._is_wanted and self.token is None else ""

    def close(self) -> None:
        self._log.close()
