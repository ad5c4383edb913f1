"""A real Prometheus over a worker, by the rules of deploy/alarms, with their times shortened."""

import json
import re
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

import yaml  # type: ignore[import-untyped]  # it has no types

from builders.alarms import RULES
from builders.debian import program
from builders.waiting import until
from feedmill.deploy.local.process import HOST, free_port

_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
# A time of a day or more is divided by so much again, so that a run has a day before.
DAYS_FACTOR = 24
_DURATION = re.compile(r"\b(\d+)([smhd])\b")
# What was not scraped for so long is gone: Prometheus' own five minutes, shortened too.
_LOOKBACK_S = 10


def shortened(text: str, factor: int) -> str:
    """Return an expression, or a `for`, with its times divided."""

    def divided(found: re.Match[str]) -> str:
        ms = int(found[1]) * _MS[found[2]]
        return f"{ms // factor // (DAYS_FACTOR if ms >= _MS['d'] else 1)}ms"

    return _DURATION.sub(divided, text)


def shortened_rules(factor: int) -> str:
    """Return the file of rules with all times divided."""
    rules = yaml.safe_load(RULES.read_text("utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            for field in ("expr", "for"):
                if field in rule:
                    rule[field] = shortened(rule[field], factor)
    return str(yaml.safe_dump(rules))


class PrometheusServer:
    """Scrapes every second; use as a context.

    Parameters
    ----------
    folder
        For its data and its log.
    factor
        By how much the times of the rules are shortened.
    """

    def __init__(self, folder: Path, factor: int) -> None:
        folder.mkdir(parents=True)
        self._targets = folder / "targets.json"
        self._targets.write_text("[]")
        (folder / "rules.yml").write_text(shortened_rules(factor))
        scraped = {
            "job_name": "feedmill",
            "honor_labels": True,
            "file_sd_configs": [{"files": [str(self._targets)], "refresh_interval": "1s"}],
        }
        often = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config = {"global": often, "rule_files": ["rules.yml"], "scrape_configs": [scraped]}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._address = f"{HOST}:{free_port(set())}"
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program("prometheus"),
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={self._address}",
                    f"--query.lookback-delta={_LOOKBACK_S}s",
                ],
                stdout=log,
                stderr=log,
            )
        until(self._serves)

    def watch(self, *ports: int) -> None:
        """Scrape what serves these, and nothing else any more."""
        targets = [{"targets": [f"{HOST}:{port}" for port in ports]}]
        new = self._targets.with_suffix(".new")
        new.write_text(json.dumps(targets))
        new.replace(self._targets)

    def firing(self) -> set[str]:
        """The alarms that are on."""
        with urllib.request.urlopen(f"http://{self._address}/api/v1/alerts", timeout=10) as answer:
            alerts = json.load(answer)["data"]["alerts"]
        return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}

    def count_series(self, query: str) -> int:
        """How many series a query has now."""
        asked = urllib.parse.urlencode({"query": query})
        address = f"http://{self._address}/api/v1/query?{asked}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return len(json.load(answer)["data"]["result"])

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def _serves(self) -> bool:
        assert self._process.poll() is None, "Prometheus ended: see its log"
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
