"""Lines of code by folder beside their ceilings, as `make check` prints them."""

import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]
CODE = (".py", ".lua")
NO_FOLDER = "."


def lines_by_folder(root: Path = ROOT) -> Counter[str]:
    """Lines of tracked code by top-level folder; files of the root itself count as `.`."""
    listed = subprocess.run(
        ["git", "ls-files"],  # noqa: S607 - the git on the path
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    lines: Counter[str] = Counter()
    for name in map(PurePosixPath, listed.stdout.splitlines()):
        if name.suffix in CODE and (root / name).exists():
            folder = name.parts[0] if len(name.parts) > 1 else NO_FOLDER
            lines[folder] += (root / name).read_text("utf-8").count("\n")
    return lines


def ceilings(root: Path = ROOT) -> dict[str, int]:
    """The most lines that each folder may have."""
    found: dict[str, int] = tomllib.loads((root / "tests/ceilings.toml").read_text("utf-8"))
    return found


def too_long(lines: Counter[str], most: dict[str, int]) -> list[str]:
    """What is wrong with the folders: above the ceiling, without one, or gone."""
    above = [
        f"{f}: {n:,} lines, at most {most[f]:,}" for f, n in lines.items() if n > most.get(f, n)
    ]
    unnamed = [f"{f}: no ceiling in tests/ceilings.toml" for f in lines if f not in most]
    gone = [f"{f}: a ceiling, and no code" for f in most if f not in lines]
    return sorted(above + unnamed + gone)


def main() -> int:
    """Print each folder's lines beside its ceiling; 1 if one is above."""
    lines, most = lines_by_folder(), ceilings()
    for folder in sorted(lines):
        print(f"{folder:<14}{lines[folder]:>8,} lines, at most {most.get(folder, 0):>8,}")
    product = lines.total() - lines["tests"]
    print(f"{'all but tests':<14}{product:>8,} lines")
    wrong = too_long(lines, most)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
