"""What the image is and does in podman, part of `make deploy-test`.

    PYTHONPATH=tests:benchmarks python -m builders.image_in_podman IMAGE [THE SAME BUILT AGAIN]

It runs as root beside a Kafka and a Redis of its own.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from builders.engine import Engine, made_engines
from builders.waiting import until
from chaos.recovery import Probe, settled
from feedmill.deploy.local import down, up
from feedmill.deploy.local.process import free_port

_PODMAN = ("podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs")
_LIMITS = ("--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000", "--no-healthcheck")
_NAME = "feedmill-deploy-test"
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


def start(engine: Engine, image: str) -> None:
    """Start a named worker with a read-only root."""
    own = {"FEEDMILL_INSTANCE": "worker-0", "FEEDMILL_PORT": str(free_port(set()))}
    variables = {**engine.environment(), **own}.items()
    given = [f"--env={k}={v}" for k, v in variables if k.startswith("FEEDMILL_")]
    where = ("--read-only", "--network", "host", "--memory", "1g")
    podman("run", "-d", "--replace", "--name", _NAME, *_LIMITS, *where, *given, image)


def trial(engine: Engine, image: str) -> None:
    """Rank posts; stop, start, kill and start again; print what came of it."""
    start(engine, image)
    until(lambda: any(beat["ready"] for beat in engine.instances().values()), 180)
    print(f"ready; /healthz answers {podman('exec', _NAME, 'python', '-c', _ASK)}")
    print(f"new posts are decided after {Probe(engine).seconds():.1f} s")
    begin = time.monotonic()
    podman("stop", "-t", "20", _NAME)
    code = podman("inspect", "-f", "{{.State.ExitCode}}", _NAME)
    print(f"stopped within {time.monotonic() - begin:.1f} s with {code}")
    start(engine, image)
    print(f"started again: new posts are decided after {Probe(engine).seconds(120):.1f} s")
    podman("kill", "-s", "KILL", _NAME)
    probe = Probe(engine)
    start(engine, image)
    print(f"killed and started: new posts are decided after {probe.seconds(120):.1f} s")
    verdict = settled(engine)
    print(f"judged by the log: {verdict}")
    feeds = [line for line in engine.feedmill("health").stdout.splitlines() if "fresh" in line]
    print(*feeds, sep="\n")
    if not verdict.is_clean:
        raise RuntimeError("something is lost, doubled or out of order")


def main() -> None:
    image, *again = sys.argv[1:]
    files = files_of(image)
    print(f"{image}: {int(podman('inspect', '-f', '{{.Size}}', image)) / 1e6:.0f} MB")
    there = [path for path in files if "bin/" in path and path.rpartition("/")[2] in _NOT_THERE]
    for other in map(files_of, again):
        unlike = [path for path in {**files, **other} if files.get(path) != other.get(path)]
        print(f"built again: {len(files)} files, other ones: {unlike[:20] or 'none'}")
        there += unlike
    print(f"user {podman('inspect', '-f', '{{.User}}', image)}, unwanted: {there or 'nothing'}")
    folder = Path(tempfile.mkdtemp(prefix="deploy-test-"))
    stack = up(folder / "stack")
    try:
        with made_engines(stack.kafka, stack.redis, folder / "engine") as make:
            trial(make(), image)
    finally:
        subprocess.run([*_PODMAN, "rm", "-f", _NAME], capture_output=True, check=False)
        down(folder / "stack")
    sys.exit(1 if there else 0)


if __name__ == "__main__":
    main()
