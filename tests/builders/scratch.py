"""Where servers of tests keep their data: in memory, where there is enough of it."""

import os
import shutil
import tempfile
from pathlib import Path

# Kafka writes each change of its metadata through to the disk, and tests create hundreds of topics.
# No test pulls the plug: a process that is killed loses nothing of either kind of file.
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there
_LEAST_FREE = 2**30


def scratch_folder(prefix: str) -> Path:
    """Make an empty folder, in memory if a GiB is free there."""
    has_room = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _LEAST_FREE
    return Path(tempfile.mkdtemp(prefix=prefix, dir=_MEMORY if has_room else None))
