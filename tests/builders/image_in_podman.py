"""What the image is and does in podman, part of `make deploy-test`.

    PYTHONPATH=tests:benchmarks python -m builders.image_in_podman IMAGE BUILT_AGAIN BEFORE

`BUILT_AGAIN` must have the same files; `BEFORE` is of an earlier commit, and takes turns with
`IMAGE` under load.  It runs as root beside a Kafka and a Redis of its own.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from builders.engine import Engine, made_engines
from builders.waiting import in_background, until
from chaos.load import Load
from chaos.recovery import Probe, settled
from feedmill.deploy.local import down, up
from feedmill.deploy.local.process import free_port

_PODMAN = ("podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs")
_LIMITS = ("--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000", "--no-healthcheck")
_NAME = "feedmill-deploy-test"
_WORKERS = tuple(f"{_NAME}-{number}" for number in range(2))
_STOP_BAR_S = 10.0
# Events a second while builds take turns.
_RATE = 50.0
_NOT_THERE = ("pip", "pip3", "gcc", "cc", "g++", "ld", "java", "pytest", "kafka-storage.sh")
_ASK = (
    "import os, urllib.request as r;"
    "print(r.urlopen(f'http://127.0.0.1:{os.environ[\"FEEDMILL_PORT\"]}/healthz').status)"
)


def podman(*words: str) -> str:
    """Run podman and return what it printed; raises where it fails."""
    done = subprocess.run([*_PODMAN, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
    return done.stdout.strip()


def files_of(image: str) -> dict[str, tuple[int, int, str]]:
    """By path the mode, the owner, and the sha256 or the target of each file of an image."""
    podman("create", "--replace", *_LIMITS, "--name", _NAME, image)
    found = {}
    with (
        subprocess.Popen([*_PODMAN, "export", _NAME], stdout=subprocess.PIPE) as export,
        tarfile.open(fileobj=export.stdout, mode="r|") as files,
    ):
        for file in files:
            content = files.extractfile(file) if file.isfile() else None
            text = hashlib.sha256(content.read()).hexdigest() if content else file.linkname
            found[file.name] = file.mode, file.uid, text
    podman("rm", _NAME)
    return found


def start(engine: Engine, image: str, name: str = _WORKERS[0]) -> None:
    """Start a named worker with a read-only root, and wait until it is ready."""
    own = {"FEEDMILL_INSTANCE": name, "FEEDMILL_PORT": str(free_port(set()))}
    variables = {**engine.environment(), **own}.items()
    given = [f"--env={k}={v}" for k, v in variables if k.startswith("FEEDMILL_")]
    where = ("--read-only", "--network", "host", "--memory", "1g")
    before = engine.instances()
    podman("run", "-d", "--replace", "--name", name, *_LIMITS, *where, *given, image)

    def is_ready() -> bool:
        beats = [b for b in engine.instances().values() if b["instance"] == name]
        return any(b["ready"] and b not in before.values() for b in beats)

    until(is_ready, 180)


def stop(name: str = _WORKERS[0]) -> float:
    """Stop a worker; how many seconds it took.  Raises where it takes too long or fails."""
    begin = time.monotonic()
    podman("stop", "-t", "20", name)
    seconds = time.monotonic() - begin
    code = podman("inspect", "-f", "{{.State.ExitCode}}", name)
    if code != "0" or seconds > _STOP_BAR_S:
        raise RuntimeError(f"{name} stopped within {seconds:.1f} s with {code}")
    return seconds


def trial(engine: Engine, image: str) -> None:
    """Rank posts; stop, start, kill and start again; print what came of it."""
    start(engine, image)
    print(f"ready; /healthz answers {podman('exec', _WORKERS[0], 'python', '-c', _ASK)}")
    print(f"new posts are decided after {Probe(engine).seconds():.1f} s")
    print(f"stopped within {stop():.1f} s with 0")
    probe = Probe(engine)
    start(engine, image)
    print(f"started again: new posts are decided after {probe.seconds(120):.1f} s")
    podman("kill", "-s", "KILL", _WORKERS[0])
    probe = Probe(engine)
    start(engine, image)
    print(f"killed and started: new posts are decided after {probe.seconds(120):.1f} s")
    judged(engine)


def turns(engine: Engine, image: str, before: str) -> None:
    """Replace two workers one by one by the build before and back, under load."""
    start(engine, image, _WORKERS[1])
    load = Load(engine, random.Random(1), _RATE)
    with in_background(load.send_until):
        for build in (before, image):
            for name in _WORKERS:
                seconds = stop(name)
                probe = Probe(engine)
                late = probe.seconds()
                start(engine, build, name)
                took = f"stopped within {seconds:.1f} s, new posts are decided after {late:.1f} s"
                print(f"{name} is now {build}: {took}")
    print(f"{load.events} events meanwhile")
    judged(engine)


def judged(engine: Engine) -> None:
    """Judge all by the log, with rankings recomputed within 1e-9; raises where it is wrong."""
    verdict = settled(engine)
    print(f"judged by the log: {verdict}")
    feeds = [line for line in engine.feedmill("health").stdout.splitlines() if "fresh" in line]
    print(*feeds, sep="\n", flush=True)
    if not verdict.is_clean:
        raise RuntimeError("something is lost, doubled or out of order")


def main() -> None:
    image, again, before = sys.argv[1:]
    files = files_of(image)
    print(f"{image}: {int(podman('inspect', '-f', '{{.Size}}', image)) / 1e6:.0f} MB")
    there = [path for path in files if "bin/" in path and path.rpartition("/")[2] in _NOT_THERE]
    other = files_of(again)
    unlike = [path for path in {**files, **other} if files.get(path) != other.get(path)]
    print(f"built again: {len(files)} files, other ones: {unlike[:20] or 'none'}")
    user = podman("inspect", "-f", "{{.User}}", image)
    print(f"user {user}, unwanted: {there or 'nothing'}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="deploy-test-"))
    stack = up(folder / "stack")
    try:
        with made_engines(stack.kafka, stack.redis, folder / "engine") as make:
            engine = make()
            trial(engine, image)
            turns(engine, image, before)
    finally:
        for name in _WORKERS:
            subprocess.run([*_PODMAN, "rm", "-f", name], capture_output=True, check=False)
        down(folder / "stack")
    sys.exit(1 if there or unlike or user != "65532:65532" else 0)


if __name__ == "__main__":
    main()
