"""`feedmill latency` against servers that answer as workers do."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from builders.golden import Golden
from feedmill.cli.main import main
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.observe.status import StatusServer


class FakeWorker:
    """Serves metrics; every scrape adds ten records, and comes a second after the one before."""

    def __init__(self, instance: str, port: int = 0, topic: str = "posts") -> None:
        self._topic, self._scraped = topic, 0
        self.metrics = Metrics("worker", instance)
        self.metrics.replace("feedmill_partition_lag", {("w", "posts", "0"): 3})
        self._server = StatusServer(lambda: "", self._text)
        self._server.start("127.0.0.1", port)
        self.port = self._server.port
        self.address = f"127.0.0.1:{self.port}"

    def _text(self) -> str:
        self._scraped += 1
        self.metrics.set("feedmill_metrics_timestamp_seconds", self._scraped)
        text = self.metrics.text()
        for leg, ms in (("append_to_fetch", 1.9), ("append_to_redis", 30.0)):
            self.metrics.histogram("feedmill_leg_seconds", topic=self._topic, leg=leg).observe(
                ms / 1000, 10
            )
        self.metrics.observe("feedmill_batch_records", 10, topic=self._topic)
        self.metrics.observe("feedmill_loop_seconds", 0.0101)
        self.metrics.observe("feedmill_commit_seconds", 0.0051)
        return text

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def workers() -> Iterator[list[FakeWorker]]:
    workers = [FakeWorker("one"), FakeWorker("two")]
    yield workers
    for worker in workers:
        worker.stop()


def latency(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["latency", "--every", "0.2", *arguments])


def test_table_and_json_have_what_lies_between_two_looks(
    workers: list[FakeWorker], golden: Golden
) -> None:
    # 1.9 ms is in the bucket from 1.5 to 2 ms: half of it at the median.  Of each of two workers
    # there are ten posts, by the time between its own two answers.
    addresses = [worker.address for worker in workers]
    looks = [latency("--once", *more, *addresses) for more in ((), ("--json",))]
    said = "\n".join(look.stdout for look in looks)
    golden.check("latency.txt", re.sub(r'(in |"seconds": )[\d.]+', r"\1<n>", said))


def test_it_goes_on_for_as_long_as_it_is_told(workers: list[FakeWorker]) -> None:
    result = latency("--json", "--for", "0.5", f"http://{workers[0].address}/metrics")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) >= 2


def test_it_waits_for_a_worker_that_restarts() -> None:
    worker = FakeWorker("one")
    command = ["latency", "--json", "--every", "0.1", worker.address]
    # Where the tests run in the background SIGINT is ignored, and a child would inherit that.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        [sys.executable, "-m", "feedmill.cli.main", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "append_to_fetch" in process.stdout.readline()
        worker.stop()
        assert process.stderr.readline().startswith("trying again: no worker answers")
        worker = FakeWorker("two", worker.port, "engagements")
        assert any('"engagements"' in process.stdout.readline() for _ in range(100))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    worker.stop()


def test_its_own_environment_names_the_worker(
    workers: list[FakeWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEEDMILL_PORT", workers[0].address.partition(":")[2])
    assert latency("--once").exit_code == 0


def test_a_worker_that_does_not_answer_is_named_and_left_out(workers: list[FakeWorker]) -> None:
    result = latency("--once", workers[0].address, "127.0.0.1:1")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == (
        "no answer from http://127.0.0.1:1/metrics: Connection refused"
    )
    assert "append_to_fetch" in result.stdout


def test_a_server_that_is_no_worker_is_refused() -> None:
    server = StatusServer(lambda: "", lambda: "<html>a page</html>")
    server.start("127.0.0.1", 0)
    try:
        result = latency("--once", f"127.0.0.1:{server.port}")
    finally:
        server.stop()
    assert result.exit_code == 1
    assert "no metrics of a worker" in result.stderr
