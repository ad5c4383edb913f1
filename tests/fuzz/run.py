"""Coverage-guided fuzzing of every reader: `make fuzz`, or `python tests/fuzz/run.py posts config`.

Starts from the kept corpus and works for `--seconds` on each target.  What atheris finds on the way
stays in `.fuzz/<target>`, so that the next run goes on from there.  An input that crashes a reader
is written beside it and ends the run with exit code 1: mend the reader and keep the input in
`tests/fuzz/corpus`.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
FOUND = ROOT / ".fuzz"
MAX_INPUT_BYTES = 65_536
MAX_MEMORY_MB = 1024
SECONDS_AN_INPUT = 5


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one target in this process, which libFuzzer ends."""
    sys.path.insert(0, str(ROOT / "tests"))
    with atheris.instrument_imports(include=["feedmill"]):
        from builders.fuzz_targets import CORPUS, TARGETS  # noqa: PLC0415 - instrumented
    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    target = TARGETS[name]
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={seconds}",
            f"-max_len={MAX_INPUT_BYTES}",
            f"-rss_limit_mb={MAX_MEMORY_MB}",
            f"-timeout={SECONDS_AN_INPUT}",
            f"-artifact_prefix={FOUND}/{name}-",
            "-print_final_stats=1",
            "-verbosity=0",
            str(found),
            str(CORPUS / name),
        ],
        lambda content: target(content) and None,
    )
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--here", action="store_true", help="in this process, one target")
    options = parser.parse_args()
    if options.here:
        fuzz(options.targets[0], options.seconds)
    corpus = ROOT / "tests" / "fuzz" / "corpus"
    names = options.targets or sorted(path.name for path in corpus.iterdir())
    failed = []
    for name in names:
        print(f"== {name}", flush=True)
        command = [sys.executable, __file__, "--here", name, "--seconds", str(options.seconds)]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if failed:
        raise SystemExit(f"fuzzing failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
