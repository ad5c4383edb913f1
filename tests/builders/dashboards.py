"""The dashboards of Grafana in `deploy/grafana`, made from the list of metrics.

`python -m builders.dashboards` writes them.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from feedmill.streams.observe.metric_list import METRICS

FOLDER = Path(__file__).parents[2] / "deploy/grafana"
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_WIDTH, _HEIGHT = 8, 7


class Panel(NamedTuple):
    """A panel: its title, its query, how its series are called, and its section of the docs."""

    title: str
    query: str
    legend: str
    section: str
    unit: str = "short"

    @property
    def names(self) -> list[str]:
        """The metrics that it asks for."""
        known = {metric.name for metric in METRICS}
        found = dict.fromkeys(re.findall(r"feedmill_[a-z_]+", self.query))
        return [next(n for n in known if one == n or one.startswith(f"{n}_")) for one in found]


_WRONG, _OPERATE = "operating/operator.md#what-is-wrong", "operating/operator.md"


def _a_minute(name: str, by: str = "") -> str:
    """How many a minute; 0 where none was counted yet."""
    grouped = f" by ({by})" if by else ""
    return f"60 * sum{grouped} (rate({name}[5m])) or vector(0)"


def _p99(name: str, by: str = "", matching: str = "") -> str:
    grouped = f"le, {by}" if by else "le"
    return f"histogram_quantile(0.99, sum by ({grouped}) (rate({name}_bucket{matching}[5m])))"


DASHBOARDS = {
    "wrong": (
        "feedmill: what is wrong",
        (
            Panel("Ready", "feedmill_ready", "{{stage}} {{instance}}", _WRONG),
            Panel("Shards that are ranked, of 64", "sum(feedmill_shards)", "shards", _WRONG),
            Panel("Stale feeds", "sum(feedmill_stale_feeds)", "feeds", _WRONG),
            Panel(
                "Unread for",
                "max by (group, topic) (feedmill_late_seconds) or vector(0)",
                "{{group}} {{topic}}",
                _WRONG,
                "s",
            ),
            Panel(
                "Posts by decision",
                "max by (decision) (feedmill_posts)",
                "{{decision}}",
                "operating/moderator.md",
            ),
            Panel(
                "Sources that a filter hides too much of",
                "sum by (stage) (feedmill_capped_sources) or vector(0)",
                "{{stage}}",
                "filters.md",
            ),
            Panel(
                "Rejected records a minute",
                _a_minute("feedmill_rejected_total", "topic"),
                "{{topic}}",
                "operating/operator.md#dead-letters",
            ),
            Panel(
                "Refused settings a minute",
                _a_minute("feedmill_refused_settings_total"),
                "settings",
                "operating/operator.md#audit",
            ),
            Panel(
                "Refused releases a minute",
                _a_minute("feedmill_refused_releases_total"),
                "releases",
                "operating/operator.md#models",
            ),
            Panel(
                "Posts on which a model failed, a minute",
                _a_minute("feedmill_model_errors_total", "stage"),
                "{{stage}}",
                "operating/operator.md#models",
            ),
            Panel(
                "Drift",
                "max by (model, quantity) (feedmill_drift) or vector(0)",
                "{{model}} {{quantity}}",
                "decisions/drift.md",
            ),
            Panel(
                "Errors of Redis a minute",
                _a_minute("feedmill_redis_errors_total"),
                "errors",
                "operating/operator.md#recovery",
            ),
            Panel(
                "Workers that were restarted, a minute",
                _a_minute("feedmill_worker_restarts_total", "child"),
                "{{child}}",
                "operating/operator.md#recovery",
            ),
            Panel(
                "Posts that end workers, a minute",
                _a_minute("feedmill_poison_total"),
                "posts",
                "operating/operator.md#posts-that-end-workers",
            ),
        ),
    ),
    "capacity": (
        "feedmill: capacity",
        (
            Panel(
                "Records a second",
                "sum by (topic) (rate(feedmill_events_total[5m]))",
                "{{topic}}",
                "metrics.md",
            ),
            Panel(
                "From Kafka to Redis, p99",
                _p99("feedmill_leg_seconds", "topic", '{leg="append_to_redis"}'),
                "{{topic}}",
                "metrics.md#the-legs",
                "s",
            ),
            Panel(
                "Lag",
                "sum by (group, topic) (feedmill_partition_lag)",
                "{{group}} {{topic}}",
                "operating/operator.md#how-many-workers",
            ),
            Panel(
                "Cores that a loop takes",
                "sum by (instance) (rate(feedmill_loop_cpu_seconds_sum[5m]))",
                "{{instance}}",
                "operating/operator.md#how-many-workers",
            ),
            Panel("Memory", "feedmill_memory_bytes", "{{stage}} {{instance}}", _OPERATE, "bytes"),
            Panel("Commit, p99", _p99("feedmill_commit_seconds"), "commit", "metrics.md", "s"),
            Panel(
                "A cycle of ranking, p99",
                _p99("feedmill_cycle_seconds", "instance"),
                "{{instance}}",
                "metrics.md",
                "s",
            ),
            Panel("Posts", "max(sum by (instance) (feedmill_posts))", "posts", "metrics.md"),
            Panel("Feeds", "sum(feedmill_feeds)", "feeds", "metrics.md"),
            Panel(
                "Pages a second that readers answer",
                "sum by (status) (rate(feedmill_reader_requests_total[5m])) or vector(0)",
                "{{status}}",
                "readers.md#operate",
            ),
            Panel(
                "Waiting for a reader, p99",
                f"{_p99('feedmill_reader_queue_seconds')} or vector(0)",
                "queue",
                "readers.md#operate",
                "s",
            ),
        ),
    ),
}


def file_of(name: str) -> str:
    """Return the JSON of a dashboard."""
    title, panels = DASHBOARDS[name]
    variables: list[dict[str, Any]] = [
        {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {
            "name": "docs",
            "label": "Address of feedmill's docs",
            "type": "textbox",
            "query": "",
            "hide": 2,
        },
    ]
    dashboard = {
        "uid": f"feedmill-{name}",
        "title": title,
        "tags": ["feedmill"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": variables},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }
    return json.dumps(dashboard, indent=2) + "\n"


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    by_name = {metric.name: metric for metric in METRICS}
    said = [f"{by_name[n].meaning} When it rises: {by_name[n].when_it_rises}" for n in panel.names]
    row, column = divmod(number, 24 // _WIDTH)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": "\n\n".join(said),
        "datasource": _SOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "links": [
            {"title": panel.section, "url": f"${{docs}}/docs/{panel.section}", "targetBlank": True}
        ],
        "targets": [
            {
                "refId": "A",
                "datasource": _SOURCE,
                "expr": panel.query,
                "legendFormat": panel.legend,
            }
        ],
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(file_of(name), encoding="utf-8")


if __name__ == "__main__":
    main()
