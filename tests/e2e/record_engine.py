"""Record the whole engine again (half a minute; starts its own Kafka and Redis).

Run `PYTHONPATH=tests .venv/bin/python tests/e2e/record_engine.py`.

Only for an intended change of behaviour, in the commit that makes it, with a line on it in
CHANGELOG.md.  A refactoring that needs this has changed what the engine decides.
"""

import json
import tempfile
from pathlib import Path

from builders.engine import WORKER, Engine, Json
from builders.recorded_engine import RECORDED, recorded_posts, settled
from feedmill.deploy.local import down, up


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            stack = up(folder)
            engine = Engine(stack.kafka, stack.redis, "recorded.", folder)
            try:
                engine.start(WORKER)
                engine.wait_ready()
                with recorded_posts(engine) as sent:
                    RECORDED.write_text(_as_json(settled(engine, sent)), "utf-8")
            finally:
                engine.stop()
        finally:
            down(folder)


def _as_json(recorded: Json) -> str:
    """One line of the file a post."""
    parts = []
    for section, lines in recorded.items():
        rows = [f"  {json.dumps(line)}: {json.dumps(value)}" for line, value in lines.items()]
        parts.append(f" {json.dumps(section)}: {{\n" + ",\n".join(rows) + "\n }")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
