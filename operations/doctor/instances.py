"""What is wrong among the instances that run: builds, names, groups, models, signals."""

from __future__ import annotations

import importlib.metadata
import re
from collections import defaultdict
from collections.abc import Iterator

from feedmill.events.instance import Instance
from feedmill.events.signal import stage_of
from feedmill.operations.doctor.finding import Finding
from feedmill.operations.doctor.installation import Installation
from feedmill.operations.model_versions import differing_versions
from feedmill.streams.flow import COMBINER, STAGES
from feedmill.streams.settings.instances import recent_instances

_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?>=(?P<least>[0-9.]+)")
# Programs that write no signal.
_WITHOUT_SIGNAL = (COMBINER, "watch", "clock")


def libraries(inst: Installation) -> Iterator[Finding]:
    """The packages that are installed are those that feedmill was written for."""
    for line in importlib.metadata.requires("feedmill") or ():
        match = _REQUIREMENT.fullmatch(line.partition(";")[0].replace(" ", ""))
        if match is None or "extra ==" in line:
            continue
        try:
            found = importlib.metadata.version(match["name"])
        except importlib.metadata.PackageNotFoundError:
            found = ""
        if not found or _numbers(found) < _numbers(match["least"]):
            yield Finding(
                "libraries",
                "wrong",
                f"{match['name']} {found or 'is not installed'}, expected {match['least']} or"
                " later",
                "the Python of this process",
                f"`pip install '{match['name']}>={match['least']}'`, or feedmill again",
            )


def builds(inst: Installation) -> Iterator[Finding]:
    """All instances, and this process, are of one build."""
    by_build: dict[str, list[str]] = defaultdict(list)
    for name, one in inst.instances.items():
        by_build[one.build].append(name)
    own = importlib.metadata.version("feedmill")
    if by_build and set(by_build) != {own}:
        said = "; ".join(f"{build} in {len(those)}" for build, those in sorted(by_build.items()))
        others = sorted(name for build, those in by_build.items() if build != own for name in those)
        yield Finding(
            "builds",
            "warn",
            f"builds differ: {said} instances, {own} here. They may judge, and refuse settings,"
            " differently",
            f"instance {others[0]} on {inst.instances[others[0]].host}",
            "install one build everywhere, `pip install --upgrade feedmill`, and restart the"
            " workers one after the other",
        )


def names(inst: Installation) -> Iterator[Finding]:
    """No two processes have the same FEEDMILL_INSTANCE."""
    processes: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for record in sorted(inst.heartbeats, key=lambda one: one.offset):
        if not record.value:
            # It stopped in order.
            processes.pop((record.key or b"").decode("utf-8", "replace"), None)
        for name, one in recent_instances([record], record.at_ms).items():
            if not processes[name] or processes[name][-1] != (one.host, one.pid):
                processes[name].append((one.host, one.pid))
    # A restart is a change; who changes back is a second process.
    twice = {name: those for name, those in processes.items() if len(those) > len(set(those))}
    for name, those in sorted(twice.items())[:1]:
        said = " and ".join(f"{host} (pid {pid})" for host, pid in sorted(set(those)))
        instance = name.partition("/")[2]
        yield Finding(
            "instance names",
            "wrong",
            f"two processes are called {instance}: {said}. Each throws the other out of the group",
            f"FEEDMILL_INSTANCE={instance}",
            "stop one, and start it with a FEEDMILL_INSTANCE of its own",
        )


def stages(inst: Installation) -> Iterator[Finding]:
    """No stage is run by two groups."""
    by_stage: dict[str, dict[str, Instance]] = defaultdict(dict)
    for one in inst.instances.values():
        if one.group:
            by_stage[one.stage][one.group] = one
    pairs: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for stage, groups in by_stage.items():
        if len(groups) > 1:
            pairs[tuple(sorted(groups))].append(stage)
    for groups_of, shared in pairs.items():
        where = [f"{name} on {by_stage[shared[0]][name].host}" for name in groups_of]
        yield Finding(
            "stages",
            "wrong",
            f"the groups {' and '.join(groups_of)} both run {', '.join(shared)}, and both write the"
            " results",
            f"groups {', '.join(where)}",
            f"stop the workers of one; `feedmill worker --without {shared[0]}` leaves a stage out",
        )


def model_versions(inst: Installation) -> Iterator[Finding]:
    """Instances of a stage that know the same releases run the same version."""
    for model, said in differing_versions(inst.instances.values()).items():
        yield Finding(
            "model versions",
            "wrong",
            f"{model} has different versions: which judges a post depends on its partition",
            said,
            "start all workers by the same build with the same FEEDMILL_MODELS, which has what is"
            f" released: {inst.command('models health')}",
        )


def declared_signals(inst: Installation) -> Iterator[Finding]:
    """Every instance that writes a signal writes one that is declared here."""
    known = {*map(stage_of, inst.environment.signals.all), *_WITHOUT_SIGNAL}
    for name, one in sorted(inst.instances.items()):
        if one.stage not in known:
            yield Finding(
                "declared signals",
                "wrong",
                f"an instance writes the signal {one.stage}, which FEEDMILL_SIGNALS does not"
                " declare here",
                f"instance {name} on {one.host}",
                f"declare it alike to every process: `export FEEDMILL_SIGNALS={one.stage}:gate` or"
                f" {one.stage}:objective, beside the others",
            )


def refused_settings(inst: Installation) -> Iterator[Finding]:
    """No instance refuses a setting that is in force here."""
    in_force = {offset: key for key, offset in inst.config.settings.offsets.items()}
    for name, one in sorted(inst.instances.items()):
        for refusal in one.refused:
            if refusal.offset in in_force:
                yield Finding(
                    "refused settings",
                    "wrong",
                    f"an instance refuses the setting `{refusal.key}` that is in force here:"
                    f" {refusal.reason}",
                    f"instance {name} on {one.host}",
                    "start it with the same build and the same FEEDMILL_SIGNALS as this process",
                )


def writers(inst: Installation) -> Iterator[Finding]:
    """While instances run, each stage that a feed needs is among them."""
    running = {one.stage for one in inst.instances.values()}
    if not running - {"watch", "clock"}:
        return
    settings = inst.config.settings
    needed: dict[str, list[str]] = {COMBINER: []}
    for feed in ("", *sorted({*settings.weights, *settings.gates} - {""})):
        weights, gates = settings.weights_of(feed), settings.gates_of(feed)
        for name in weights.signals:
            needed.setdefault(stage_of(name), []).append(f"weights/{feed}".rstrip("/"))
        for name in [n for n, policy in gates.items() if policy.required]:
            needed.setdefault(name, []).append(f"gates/{feed}".rstrip("/"))
    for one in settings.running.values():
        for policy in one.arms.values():
            required = [name for name, gate in policy.gates.items() if gate.required]
            for name in (*map(stage_of, policy.weights.signals), *required):
                needed.setdefault(name, []).append(f"experiments/{one.name}")
    for name in [name for name in needed if name not in running]:
        setting = needed[name][0] if needed[name] else ""
        start = f"start `feedmill worker {name}`" if name in STAGES else "start its program"
        fields = {"weights": f"{name}=0", "gates": f"{name}.enabled=false"}
        field = fields.get(setting.partition("/")[0], "stopped=true")
        instead = f", or {inst.command(f'config set {setting} {field}')}" if setting else ""
        yield Finding(
            "writers",
            "wrong",
            f"nobody runs {name}: " + ("feeds are stale" if setting else "nobody ranks"),
            f"settings {', '.join(dict.fromkeys(needed[name]))}" if setting else "instances",
            start + instead,
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
