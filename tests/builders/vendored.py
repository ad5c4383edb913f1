"""Files of npm packages that the console serves, or that its tests run: `make vendor` fetches them.

The lock has for each file the package, its version and sha512, and the file's own sha256.  Without
a network everything works: the files are committed, with their licences beside them.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "console/vendor.json"


class VendoredFile(NamedTuple):
    """A file as the lock names it: `file` of a package stands at `path` of the repository."""

    package: str
    version: str
    sha512: str
    file: str
    path: str
    sha256: str


def locked() -> list[VendoredFile]:
    """Return what the lock names."""
    return [VendoredFile(**entry) for entry in json.loads(LOCK.read_text("utf-8"))]


def altered(root: Path = ROOT) -> list[str]:
    """Return the paths of files that are missing, or are not what the lock says."""
    return [
        one.path
        for one in locked()
        if not (root / one.path).is_file() or _sha256((root / one.path).read_bytes()) != one.sha256
    ]


def main() -> int:
    """Fetch every package, and write its files where their checksums agree."""
    with tempfile.TemporaryDirectory() as folder:
        for package in dict.fromkeys((one.package, one.version, one.sha512) for one in locked()):
            _unpack(*package, Path(folder))
    wrong = altered()
    for path in wrong:
        print(f"{path}: not the file that {LOCK.name} names", file=sys.stderr)
    return 1 if wrong else 0


def _unpack(package: str, version: str, sha512: str, folder: Path) -> None:
    command = ("npm", "pack", f"{package}@{version}", "--silent", "--pack-destination", str(folder))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    tarball = next(folder.glob("*.tgz"))
    found = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if found != sha512:
        raise SystemExit(f"{package}@{version}: expected the sha512 {sha512}, got {found}")
    with tarfile.open(tarball) as archive:
        for one in locked():
            if one.package == package:
                member = archive.extractfile(f"package/{one.file}")
                path = ROOT / one.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(member.read() if member is not None else b"")
    tarball.unlink()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
