"""What the whole engine takes: processor, memory and Kafka's bytes, role by role.

    make cost
    make cost ARGS='--seconds 10 --rates 10,100 --live 5000,20000'    # short

A judge, a ranker and a reader run as `feedmill run --judges 1 --rankers 1 --readers 1` starts them,
on a Redis of their own and the local stack's Kafka, which nobody else may use meanwhile.  First
nothing comes, then posts at each rate with 20 times as many engagements.  A rate counts as reached
when the load is sent in time and the judge is behind by less than a second of it at the end.
Then the roles start anew on two numbers of live posts, written as records (`live_posts.py`), and
the reader is asked for pages.  Figures go to a file of JSON beside the page, tables into the page;
the ratio of each figure to that of the run before is in both.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from live_posts import LivePosts
from load import Load
from machine import Stolen, describe
from subjects import (
    PARTITIONS,
    Subject,
    cpu_seconds_of,
    own_servers,
    resident_bytes_of,
    start,
)

from feedmill.deploy.local import default_folder, status
from feedmill.deploy.supervisor import by_role
from feedmill.streams.environment import Environment, environment_variables
from feedmill.streams.flow import chosen_stages
from feedmill.streams.kafka.topic_table import topic_table

PAGE = Path(__file__).parent.parent / "docs/operating/cost.md"
ENGAGEMENTS_A_POST = 20
ROLES = ("judge", "ranker", "reader", "broker", "Redis")
BOUNDS = '{"weights": {"quality": [0, 2], "engagement": [0, 2]}}'
PAGE_REQUEST = b'{"weights": {"quality": 0.2, "engagement": 1.5}}'
WARM_RATE, WARM_S = 50, 6.0
PAGES, PAGES_A_SECOND = 600, 40
# Assumptions of the page, not measured.
PAGES_A_READER = 20  # a day
PEAK = 3.0  # the busiest hour beside the mean of a day
HEADROOM = 0.5  # what part of a machine's cores is used
MEMORY_GIB_A_CORE = 4
PLANNED = (10, 100, 1000)
Figures = dict[str, Any]


@dataclass
class Engine:
    """The running roles and servers."""

    environment: Environment
    roles: dict[str, Subject]
    client: redis.Redis
    brokers: list[int]

    def cpu_seconds(self) -> dict[str, float]:
        """Return the processor time of each role and server so far."""
        found = {name: one.cpu_seconds() for name, one in self.roles.items()}
        found["broker"] = sum(map(cpu_seconds_of, self.brokers))
        found["Redis"] = cpu_seconds_of(self.client.info("server")["process_id"])
        return found

    def threads(self) -> dict[str, dict[str, float]]:
        """Return each role's processor time by thread: its loop, Kafka's client, all others."""
        found: dict[str, dict[str, float]] = {}
        for name, one in self.roles.items():
            parts = found.setdefault(name, dict.fromkeys(("loop", "Kafka's client", "others"), 0.0))
            for task in Path(f"/proc/{one.process.pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    is_kafka = (task / "comm").read_text().startswith("rdk")
                    fields = (task / "stat").read_text().rpartition(")")[2].split()
                    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
                    is_loop = int(task.name) == one.process.pid
                    part = "Kafka's client" if is_kafka else "loop" if is_loop else "others"
                    parts[part] += seconds
        return found

    def resident_mb(self) -> dict[str, float]:
        """Return the resident memory of each role and server."""
        found = {name: one.resident_bytes() for name, one in self.roles.items()}
        found["broker"] = sum(map(resident_bytes_of, self.brokers))
        found["Redis"] = self.client.info("memory")["used_memory"]
        return {name: count / 1e6 for name, count in found.items()}

    def written(self) -> int:
        """Return how many bytes the brokers wrote so far, to disk and to clients."""
        text = "".join(Path(f"/proc/{pid}/io").read_text() for pid in self.brokers)
        return sum(map(int, re.findall(r"wchar: (\d+)", text)))


def topic_bytes(environment: Environment) -> dict[str, int]:
    """Return by topic how many bytes its segments have on disk, on all its partitions."""
    found: dict[str, int] = {}
    for path in default_folder().rglob(f"{environment.topic_prefix}*/*.log"):
        name = path.parent.name.removeprefix(environment.topic_prefix).rpartition("-")[0]
        with contextlib.suppress(OSError):
            found[name] = found.get(name, 0) + path.stat().st_size
    return found


@contextlib.contextmanager
def engine(environment: Environment) -> Iterator[Engine]:
    """Start a judge, a ranker and a reader, and wait until all serve."""
    stages = chosen_stages(environment.signals)
    roles: dict[str, Subject] = {}
    try:
        for spec in by_role(stages, 1, 1):
            roles[spec.name] = start("worker", environment, arguments=spec.stages)
        roles["reader"] = start("reader", environment)
        for one in roles.values():
            one.wait_ready(300)
        brokers = [pid for pid in status(default_folder()).kafka_pids if pid is not None]
        yield Engine(environment, roles, redis.Redis.from_url(environment.redis), brokers)
    finally:
        for one in roles.values():
            one.stop()


def serve_global(environment: Environment) -> None:
    """Have readers serve the feed `global`."""
    subprocess.run(
        [sys.executable, "-m", "feedmill.cli.main", "config", "set", "readers/global", BOUNDS],
        env={**os.environ, **environment_variables(environment)},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def measure(running: Engine, load: Load, posts: int, seconds: float) -> Figures:
    """Send posts and engagements for so long and return what all of them took a second."""
    events = posts * (1 + ENGAGEMENTS_A_POST)
    load.draw(int(posts * (seconds + WARM_S)) + 1)
    if posts:
        load.mixed(posts, posts * ENGAGEMENTS_A_POST, WARM_S)
    else:
        time.sleep(WARM_S)
    stolen, began = Stolen(), time.perf_counter()
    threads = running.threads()
    cpu, topics, written = (
        running.cpu_seconds(),
        topic_bytes(running.environment),
        running.written(),
    )
    if posts:
        load.mixed(posts, posts * ENGAGEMENTS_A_POST, seconds)
    else:
        time.sleep(seconds)
    took = time.perf_counter() - began
    behind = running.roles["judge"].samples().value("feedmill_lag")
    now = running.threads()
    after, more = running.cpu_seconds(), topic_bytes(running.environment)
    came = {name: (size - topics.get(name, 0)) / took for name, size in more.items()}
    sent = (running.written() - written) / took - sum(came.values())
    return {
        "posts": posts,
        "reached": took < 1.05 * seconds and behind < max(events, 1),
        "took_s": took,
        "behind": behind,
        "stolen": stolen.share(),
        "cpu": {name: (after[name] - cpu[name]) / took for name in ROLES},
        "threads": {
            name: {part: (s - threads[name].get(part, 0.0)) / took for part, s in of.items()}
            for name, of in now.items()
        },
        "resident_mb": running.resident_mb(),
        "topics": {name: size for name, size in sorted(came.items()) if size > 0},
        "bytes_in": sum(came.values()),
        "bytes_out": sent,
    }


def at_rates(rates: list[int], seconds: float) -> list[Figures]:
    """Measure an engine at no load and at each rate, up to the first that is not reached."""
    found: list[Figures] = []
    with own_servers() as environment, engine(environment) as running:
        serve_global(environment)
        load = Load(environment)
        # A broker compiles its code for each kind of request while it takes the first of them.
        load.mixed(WARM_RATE, WARM_RATE * ENGAGEMENTS_A_POST, 3 * WARM_S)
        for posts in (0, *rates):
            found.append(measure(running, load, posts, seconds))
            shown = ", ".join(f"{n} {s:.3f}" for n, s in found[-1]["cpu"].items())
            print(
                f"{posts} posts/s: processors {shown}; behind {found[-1]['behind']:.0f}", flush=True
            )
            if not found[-1]["reached"]:
                break
    return found


def at_live(posts: int) -> Figures:
    """Measure what so many live posts take, and pages of them."""
    with own_servers() as environment:
        serve_global(environment)
        LivePosts(environment, posts, PARTITIONS).write()
        with engine(environment) as running:
            found: Figures = {"posts": posts, "resident_mb": {}}
            # The ranker writes its feeds and signals to Redis after it is ready.
            size, until = -1, time.monotonic() + 120
            while size != (now := running.client.dbsize()) or now < posts // 2:
                if time.monotonic() > until:
                    raise SystemExit(f"Redis has {now} keys of {posts} live posts after 120 s")
                size = now
                time.sleep(3)
            found["resident_mb"] = running.resident_mb()
            found["kafka_mb"] = sum(topic_bytes(environment).values()) / 1e6
            found["page_ms"] = page_ms(running)
    print(f"{posts} live posts: {found}", flush=True)
    return found


def page_ms(running: Engine) -> float:
    """Return the reader's processor time of a page beyond what it takes without requests."""
    reader = running.roles["reader"]
    url = f"http://127.0.0.1:{reader.port}/v1/feeds/global"

    def spent(asked: bool) -> float:
        before, began = reader.cpu_seconds(), time.perf_counter()
        for number in range(PAGES):
            time.sleep(max(0.0, began + number / PAGES_A_SECOND - time.perf_counter()))
            if asked:
                with urllib.request.urlopen(url, data=PAGE_REQUEST, timeout=10) as answer:
                    if not json.load(answer)["posts"]:
                        raise SystemExit("the reader answered with an empty page")
        return reader.cpu_seconds() - before

    spent(asked=True)
    return (spent(asked=True) - spent(asked=False)) / PAGES * 1000


def planned(reached: list[Figures], memory_gib: float, logs: dict[str, float]) -> Figures:
    """Compute what each planned rate takes; `logs` has for how many seconds a topic keeps."""
    top, idle = reached[-1], reached[0]
    plan: Figures = {}
    for posts in PLANNED:
        measured = next((one for one in reached if one["posts"] == posts), None)
        factor = posts / top["posts"]
        if measured is None:
            cpu = {n: idle["cpu"][n] + (top["cpu"][n] - idle["cpu"][n]) * factor for n in ROLES}
            topics = {name: size * factor for name, size in top["topics"].items()}
            out = top["bytes_out"] * factor
        else:
            cpu, topics, out = measured["cpu"], measured["topics"], measured["bytes_out"]
        kept = sum(size * logs[name] for name, size in topics.items() if logs.get(name, -1) > 0)
        cores = sum(cpu.values())
        plan[str(posts)] = {
            "measured": measured is not None,
            "cpu": cpu,
            "cores": cores,
            "bytes_in": sum(topics.values()),
            "bytes_out": out,
            "logs_gb": kept / 1e9,
            "machines": {
                str(n): {
                    "cores": math.ceil(cores / HEADROOM / n),
                    "memory": math.ceil(memory_gib / HEADROOM / n / MEMORY_GIB_A_CORE),
                }
                for n in (4, 16)
            },
        }
    return plan


def derived(rates: list[Figures], live: list[Figures], names: tuple[str, ...]) -> Figures:
    """Compute what is not measured: rates beyond the largest, 1M live posts, readers, machines."""
    reached = [one for one in rates if one["reached"]]
    few, many = live
    slope = {
        name: (many["resident_mb"][name] - few["resident_mb"][name])
        / (many["posts"] - few["posts"])
        # The broker's is its heap, which grows with what it did and not with posts.
        if name != "broker"
        else 0.0
        for name in ROLES
    }
    base = {name: many["resident_mb"][name] - slope[name] * many["posts"] for name in ROLES}
    million = {name: base[name] + slope[name] * 1e6 for name in ROLES}
    kafka = (many["kafka_mb"] - few["kafka_mb"]) / (many["posts"] - few["posts"])
    memory, page = sum(million.values()) / 1074, many["page_ms"]
    logs = {
        spec.name: int(spec.settings["retention.ms"]) / 1000
        for spec in topic_table(names)
        if spec.settings["cleanup.policy"] == "delete"
    }
    readers = {
        str(n): {
            "peak": (pages := n * PAGES_A_READER / 86_400 * PEAK),
            "cores": pages * page / 1000,
            "machines": {str(c): math.ceil(pages * page / 1000 / HEADROOM / c) for c in (4, 16)},
        }
        for n in (100_000, 1_000_000)
    }
    return {
        "bytes_a_post": {n: s * 1e6 for n, s in slope.items()},
        "million_mb": million,
        "million_gib": memory,
        "kafka_a_post": kafka * 1e6,
        "plan": planned(reached, memory, logs),
        "readers": readers,
    }


def ratios(now: Any, before: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield the ratio of each measured figure of two runs, by its name."""
    if isinstance(now, dict):
        for key in now.keys() & (before.keys() if isinstance(before, dict) else ()):
            yield from ratios(now[key], before[key], f"{name}{key} ")
    elif isinstance(now, list):
        for one, other in zip(now, before, strict=False):
            if not one.get("reached", True):
                continue
            yield from ratios(one, other, f"{name}{one['posts']} ")
    elif isinstance(now, float) and isinstance(before, float) and before:
        yield name.strip(), now / before


def table(head: str, rows: list[str]) -> str:
    """Return a table of Markdown; cells are between bars."""
    return "\n".join([f"| {head} |", "|" + "---|" * (head.count("|") + 1), *rows]) + "\n"


def details(found: Figures) -> list[str]:
    """Return the tables of threads, topics and ratios."""
    parts: list[str] = []
    cells = " | ".join
    rows = [
        f"| {one['posts']} | {role} | " + cells(f"{part:.3f}" for part in of.values()) + " |"
        for one in found["rates"]
        for role, of in one["threads"].items()
    ]
    parts.append("Processors in use by thread:\n")
    parts.append(table("posts/s | role | loop | Kafka's client | other threads", rows))
    names = sorted({name for one in found["rates"] for name in one["topics"]})
    parts.append("Kafka's bytes a second by topic:\n")
    parts.append(
        table(
            "topic | " + cells(f"{one['posts']} posts/s" for one in found["rates"]),
            [
                f"| `{name}` | "
                + cells(f"{one['topics'].get(name, 0):,.0f}" for one in found["rates"])
                + " |"
                for name in names
            ],
        )
    )
    if found["ratios"]:
        rows = [
            f"| {name} | {ratio:.2f} |"
            for name, ratio in sorted(found["ratios"].items())
            if re.search(r" cpu | bytes_|page_ms|kafka_mb", name)
        ]
        parts.append("This run beside the one before; every figure is in the file beside:\n")
        parts.append(table("figure | ratio", rows))
    return parts


def pages(found: Figures) -> str:
    """Return the tables of the page."""
    made, live, plan = found["derived"], found["live"], found["derived"]["plan"]
    cells = " | ".join

    def rounded(values: dict[str, float], digits: int) -> str:
        return cells(f"{values[name]:,.{digits}f}" for name in ROLES)

    roles = cells(ROLES)
    parts = [f"Measured on {found['machine']}, {found['seconds']:g} s at each rate.\n"]
    rows = [
        f"| {one['posts']}{'' if one['reached'] else ' (not reached)'} | {rounded(one['cpu'], 3)} |"
        f" {one['bytes_in'] / 1e3:,.1f} | {one['bytes_out'] / 1e3:,.1f} |"
        for one in found["rates"]
    ]
    parts.append("Processors in use, and Kafka's kB a second, measured:\n")
    parts.append(table(f"posts/s | {roles} | kB/s in | kB/s out", rows))
    rows = [
        f"| {int(posts):,} | {'measured' if one['measured'] else '**computed**'} |"
        f" {one['cores']:.2f} | {made['million_gib']:,.1f} | {one['logs_gb']:,.0f} |"
        f" {made['kafka_a_post'] / 1e3:.1f} | "
        + cells(f"{max(one['machines'][n].values()):,}" for n in ("4", "16"))
        + " |"
        for posts, one in plan.items()
    ]
    parts.append("What to plan for, with 1,000,000 live posts:\n")
    parts.append(
        table(
            "posts/s | processors are | cores | memory GiB | disk, logs GB | disk, views GB"
            " | machines of 4 cores | of 16",
            rows,
        )
    )
    rows = [
        f"| {one['posts']:,} | {rounded(one['resident_mb'], 0)} | {one['kafka_mb']:,.0f} |"
        for one in live
    ]
    rows.append(
        f"| 1,000,000, **extrapolated** | {rounded(made['million_mb'], 0)} |"
        f" {made['kafka_a_post']:,.0f} |"
    )
    rows.append(
        f"| bytes a post | {rounded(made['bytes_a_post'], 0)} | {made['kafka_a_post']:,.0f} |"
    )
    parts.append("Memory in MB, and Kafka's disk, by live posts:\n")
    parts.append(table(f"live posts | {roles} | Kafka's disk MB", rows))
    rows = [
        f"| {int(n):,} | {one['peak']:,.0f} | {one['cores']:.2f} | {one['machines']['4']} |"
        f" {one['machines']['16']} |"
        for n, one in made["readers"].items()
    ]
    parts.append(f"A page takes {live[-1]['page_ms']:.2f} ms of the reader's processor:\n")
    parts.append(table("readers a day | pages/s at the peak | cores | machines of 4 | of 16", rows))
    parts += details(found)
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=15, help="at each rate")
    parser.add_argument("--rates", default="10,100,200,400,1000", help="of posts, ascending")
    parser.add_argument("--live", default="10000,40000", help="two numbers of live posts")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page; JSON goes beside it")
    options = parser.parse_args()
    if "FEEDMILL_KAFKA" in os.environ:
        raise SystemExit("unset FEEDMILL_KAFKA: the broker is measured on this machine by its pid")
    try:
        rates = [int(rate) for rate in options.rates.split(",")]
        few, many = (int(posts) for posts in options.live.split(","))
    except ValueError:
        raise SystemExit("--rates wants numbers, --live two numbers, with commas between") from None
    if not 0 < few < many or rates != sorted(rates) or rates[0] < 1 or options.seconds <= 0:
        raise SystemExit("--rates and --live ascend from 1 on, and --seconds is above 0")
    print(describe(), flush=True)
    with own_servers() as environment:
        names = environment.signals.all
    found: Figures = {"machine": describe(), "seconds": options.seconds}
    found["rates"] = at_rates(rates, options.seconds)
    found["live"] = [at_live(few), at_live(many)]
    found["derived"] = derived(found["rates"], found["live"], names)
    file = options.page.with_suffix(".json")
    before = json.loads(file.read_text()) if file.exists() else {}
    found["ratios"] = {}
    for part in ("rates", "live"):
        found["ratios"] |= dict(ratios(found[part], before.get(part, []), f"{part} "))
    for name, ratio in sorted(found["ratios"].items()):
        print(f"{name:45}{ratio:6.2f}")
    file.write_text(json.dumps(found, indent=1) + "\n")
    head, _, rest = options.page.read_text().partition("<!-- measured -->\n")
    _, _, tail = rest.partition("<!-- end -->")
    options.page.write_text(f"{head}<!-- measured -->\n{pages(found)}<!-- end -->{tail}")


if __name__ == "__main__":
    main()
