"""The rules for Prometheus: each fires by its fault and not without it, and the docs have it."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from builders.alarms import RULES, Rule, rules
from builders.debian import program
from feedmill.streams.observe.metric_list import METRICS

OPERATOR = Path(__file__).parents[2] / "docs/operating/operator.md"

WORKER = 'stage="worker", instance="w1"'
CAFILE = 'variable="FEEDMILL_KAFKA_SSL_CAFILE"'
POSTS_3 = 'group="worker", topic="posts", partition="3"'


class Case(NamedTuple):
    """Series of a minute's interval by which an alarm fires, and others by which it does not.

    Attributes
    ----------
    alarm
        Its name.
    fault
        The series of the fault, in promtool's notation, beginning at 0m.
    at
        When it fires at the latest.
    before
        When it does not fire yet, by the same series.
    labels
        Of the alarm, beside its severity.
    well
        Series that look much like the fault and are none, watched for as long.
    """

    alarm: str
    fault: dict[str, str]
    at: str
    before: str
    labels: dict[str, str]
    well: dict[str, str]


def of_series(
    alarm: str, series: str, fault: str, at: str, before: str, labels: dict[str, str], well: str
) -> Case:
    """The case of one series, which may look much like the fault."""
    return Case(alarm, {series: fault}, at, before, labels, {series: well})


def rising(alarm: str, name: str, labels: dict[str, str], at: str = "21m") -> Case:
    """The case of a counter that rises by one at 21m."""
    text = ", ".join(f'{key}="{value}"' for key, value in labels.items())
    return of_series(alarm, f"{name}{{{text}}}", "4x20 5x20", at, "20m", labels, "4x60")


W1 = {"stage": "worker", "instance": "w1"}
AT_3 = {"group": "worker", "topic": "posts", "partition": "3"}
SPAM = {"stage": "spam", "instance": "w1"}
READY = f"feedmill_ready{{{WORKER}}}"
RESTARTS, CHILD = "feedmill_worker_restarts_total", {"instance": "s", "child": "worker-1"}

CASES = [
    Case(
        "FeedmillDown",
        {'up{job="feedmill", instance="w1:9100"}': "1x4 0x10"},
        "6m",
        "5m",
        {"job": "feedmill", "instance": "w1:9100"},
        {'up{job="other", instance="w1:9100"}': "0x20"},
    ),
    of_series("FeedmillNoWorker", READY, "1 1 1 stale", "6m", "4m", {}, "0x20"),
    of_series(
        *("FeedmillNotReady", READY, "1x4 0x10", "9m", "7m"),
        labels=W1,
        well="1 1 0 0 1 1 1 0 0 1 1 1 1 1 1",
    ),
    of_series(
        *("FeedmillLoopStandsStill", f"feedmill_metrics_timestamp_seconds{{{WORKER}}}"),
        *("0+60x4 240x10", "6m", "4m"),
        W1,
        "0+60x20",
    ),
    Case(
        "FeedmillStaleFeeds",
        {
            'feedmill_stale_feeds{instance="w1"}': "0x4 3x10",
            'feedmill_stale_feeds{instance="w2"}': "0x20",
        },
        "6m",
        "5m",
        {},
        {'feedmill_stale_feeds{instance="w1"}': "0 0 3 0 0 0 2 0 0 0"},
    ),
    Case(
        "FeedmillFreeShards",
        {'feedmill_shards{instance="w1"}': "32x20", 'feedmill_shards{instance="w2"}': "32x4 0x16"},
        "6m",
        "5m",
        {},
        {
            'feedmill_shards{instance="w1"}': "32x4 0 64x15",
            'feedmill_shards{instance="w2"}': "32x4 0x16",
        },
    ),
    of_series(
        *("FeedmillPartitionLate", f'feedmill_late_seconds{{instance="w1", {POSTS_3}}}'),
        *("0+60x10", "3m", "1m"),
        AT_3,
        "0 20 40 0 0 20 20 20 20 25",
    ),
    of_series(
        *("FeedmillHeldBack", f'feedmill_held_back{{instance="w1", {POSTS_3}}}'),
        *("_x3 1x10", "4m", "3m"),
        AT_3,
        "0x3 1 0x10",
    ),
    Case(
        "FeedmillPostsHeld",
        {'feedmill_posts{decision="hold", instance="w1"}': "40x15 40+10x15"},
        "24m",
        "16m",
        {},
        # One that has just started holds what the others hold.
        {
            'feedmill_posts{decision="hold", instance="w1"}': "400x40",
            'feedmill_posts{decision="hold", instance="w2"}': "_x10 400x30",
        },
    ),
    of_series(
        *("FeedmillLag", f'feedmill_partition_lag{{instance="w1", {POSTS_3}}}'),
        *("0+500x30", "15m", "7m"),
        {"group": "worker"},
        "9000-200x30",
    ),
    rising("FeedmillRedisErrors", "feedmill_redis_errors_total", {"instance": "w1"}, at="23m"),
    # It is well with a former owner's last writes.
    of_series(
        *("FeedmillWritesRefused", 'feedmill_redis_refused_total{instance="w1"}'),
        *("0x5 1+3x20", "16m", "8m"),
        {"instance": "w1"},
        "0x5 12x30",
    ),
    rising("FeedmillClockRefused", "feedmill_clock_refused_total", W1),
    of_series(
        *("FeedmillMemory", f"feedmill_memory_bytes{{{WORKER}}}"),
        *("400e6x1440 1200e6x60", "1475m", "1445m"),
        W1,
        "400e6x1440 1000e6x60",
    ),
    rising("FeedmillWorkerRestarts", RESTARTS, CHILD),
    of_series(
        *("FeedmillCrashLoop", f'{RESTARTS}{{instance="s", child="worker-1"}}'),
        *("_x3 1 2 3 3 3", "5m", "4m"),
        CHILD,
        "1x3 2x20 3x20",
    ),
    of_series(
        *("FeedmillCertificateExpires", f'feedmill_certificate_days{{instance="w1", {CAFILE}}}'),
        *("14x4 13x30", "16m", "13m"),
        {"instance": "w1", "variable": "FEEDMILL_KAFKA_SSL_CAFILE"},
        "14x4 13x3 90x20",
    ),
    of_series(
        *("FeedmillDeadLetters", f"feedmill_letters_total{{{WORKER}}}"),
        *("7x20 30x20", "22m", "20m"),
        {},
        "7x20 8x20 9x20",
    ),
    rising("FeedmillSharedLetters", "feedmill_shared_letters_total", W1),
    rising("FeedmillLostLetters", "feedmill_lost_letters_total", W1),
    rising("FeedmillPassedBatches", "feedmill_passed_batches_total", {**W1, "topic": "posts"}),
    rising("FeedmillPoison", "feedmill_poison_total", W1),
    rising("FeedmillRefusedSettings", "feedmill_refused_settings_total", W1),
    rising("FeedmillModelErrors", "feedmill_model_errors_total", {"stage": "spam"}),
    Case(
        "FeedmillHiddenPosts",
        {'feedmill_posts{decision="hide", instance="w1"}': "10x60 10+4x40"},
        "90m",
        "70m",
        {},
        {
            'feedmill_posts{decision="hide", instance="w1"}': "10+1x90",
            'feedmill_posts{decision="hide", instance="w2"}': "_x50 400x40",
        },
    ),
    of_series(
        *("FeedmillCappedSources", 'feedmill_capped_sources{stage="spam", instance="w1"}'),
        *("0x4 2x20", "16m", "13m"),
        SPAM,
        "0x4 2x5 0x20",
    ),
    rising("FeedmillRefusedReleases", "feedmill_refused_releases_total", W1),
    of_series(
        *("FeedmillWaitingReleases", f"feedmill_waiting_releases{{{WORKER}}}"),
        *("0x4 1x20", "11m", "9m"),
        W1,
        "0x4 1x3 0x20",
    ),
    of_series(
        *("FeedmillDrift", 'feedmill_drift{model="spam", version="v", quantity="scores"}'),
        *("0x4 1x20", "16m", "13m"),
        {"model": "spam", "version": "v", "quantity": "scores"},
        "0x4 1x5 0x20",
    ),
]

# Of a counter that is not there before its first count.
FIRST_COUNTS = [
    case._replace(fault={next(iter(case.fault)): "_x21 1x20", READY: "1x60"})
    for case in CASES
    if list(case.fault.values()) == ["4x20 5x20"]
]


def unit_tests(case: Case, rule: Rule) -> dict[str, Any]:
    """What `promtool test rules` reads: the fault, before it, and a time that is well."""
    labels = {**case.labels, "severity": rule.severity}

    def filled(text: str) -> str:
        return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels[found[1]], text)

    fired = {
        "exp_labels": labels,
        "exp_annotations": {name: filled(text) for name, text in rule.annotations.items()},
    }

    def series(values: dict[str, str]) -> list[dict[str, str]]:
        return [{"series": name, "values": text} for name, text in values.items()]

    def expected(at: str, *alerts: dict[str, Any]) -> dict[str, Any]:
        return {"eval_time": at, "alertname": case.alarm, "exp_alerts": list(alerts)}

    minutes = int(case.at[:-1])
    # A case of a day looks every five minutes.
    step, interval = (1, "30s") if minutes < 600 else (5, "5m")
    times = [f"{minute}m" for minute in range(0, minutes + 1, step)]
    return {
        "rule_files": [str(RULES)],
        "evaluation_interval": interval,
        "tests": [
            {
                "interval": "1m",
                "input_series": series(case.fault),
                "alert_rule_test": [expected(case.before), expected(case.at, fired)],
            },
            {
                "interval": "1m",
                "input_series": series(case.well),
                "alert_rule_test": [expected(at) for at in times],
            },
        ],
    }


def run_promtool(case: Case, folder: Path) -> str:
    """What `promtool` complains of; "" where all is as expected."""
    path = folder / "test.yml"
    # JSON is YAML, and needs no quotes of its own.
    path.write_text(json.dumps(unit_tests(case, rules()[case.alarm])))
    done = promtool("test", "rules", str(path))
    return "" if done.returncode == 0 else done.stdout + done.stderr


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("promtool"), *words], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alarm)
def test_the_alarm_fires_by_its_fault_and_not_without(case: Case, tmp_path: Path) -> None:
    assert run_promtool(case, tmp_path) == ""


@pytest.mark.parametrize("case", FIRST_COUNTS, ids=lambda case: case.alarm)
def test_the_first_count_of_a_counter_is_a_rise(case: Case, tmp_path: Path) -> None:
    assert run_promtool(case, tmp_path) == ""


def test_an_alarm_that_does_not_fire_is_found(tmp_path: Path) -> None:
    case = next(one for one in CASES if one.alarm == "FeedmillNotReady")
    assert "FeedmillNotReady" in run_promtool(case._replace(fault=case.well), tmp_path)
    assert "FeedmillNotReady" in run_promtool(case._replace(well=case.fault), tmp_path)


def test_every_alarm_has_a_case() -> None:
    assert [case.alarm for case in CASES if case.alarm not in rules()] == []
    assert rules().keys() == {case.alarm for case in CASES}
    assert len(FIRST_COUNTS) >= 9


def test_promtool_finds_the_rules_in_order() -> None:
    done = promtool("check", "rules", str(RULES))
    assert f"SUCCESS: {len(rules())} rules found" in done.stdout, done.stderr


# --- the rules, the metrics and the docs ------------------------------------------------------


def rows() -> dict[str, list[str]]:
    """The rows of the table of alarms by their names."""
    text = OPERATOR.read_text("utf-8").partition("\n## Alarms\n")[2].partition("\n## ")[0]
    found = [row.strip("|").split(" | ") for row in re.findall(r"^\| `Feed.*$", text, re.MULTILINE)]
    return {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in found}


def test_every_row_of_the_docs_has_a_rule_and_every_rule_a_row() -> None:
    assert list(rows()) == list(rules())
    for name, (severity, *cells) in rows().items():
        assert severity == rules()[name].severity
        assert len(cells) == 3
        assert all(cells), name


def test_every_alarm_pages_or_is_a_ticket_and_says_what_to_read() -> None:
    headings = re.findall(r"^#+ (.*)$", OPERATOR.read_text("utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", one).lower().replace(" ", "-") for one in headings}
    for name, rule in rules().items():
        assert rule.severity in ("page", "ticket"), name
        assert rule.annotations.keys() == {"summary", "description", "runbook"}, name
        page, _, anchor = rule.annotations["runbook"].partition("#")
        assert page == "docs/operating/operator.md", name
        assert anchor in anchors, (name, anchor)


def test_every_rule_uses_metrics_that_exist() -> None:
    known = {metric.name: metric for metric in METRICS}
    for name, rule in rules().items():
        used = set(re.findall(r"\bfeedmill_\w+", rule.expr))
        assert used or "up{" in rule.expr, name
        assert used <= known.keys(), name
        labels = {*re.findall(r"(\w+)=", rule.expr), *re.findall(r"\$labels\.(\w+)", rule.text)}
        for group in re.findall(r"by \(([\w, ]+)\)", rule.expr):
            labels |= set(group.split(", "))
        allowed = {"stage", "instance", "job"}.union(*(known[one].labels for one in used))
        assert labels <= allowed, name
