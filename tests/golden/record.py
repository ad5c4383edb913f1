"""Record the flow anew: `PYTHONPATH=tests .venv/bin/python tests/golden/record.py`.

Only for an intended change of behaviour (a retrained model, another formula, another format), in
the commit that makes it, with a line on it in CHANGELOG.md.  A refactoring that needs this has
changed what the engine does.  The two files differ line by line: read what changed.
"""

from builders.golden_flow import Flow
from builders.golden_recording import RECORDED, REFUSALS, as_json

if __name__ == "__main__":
    recording = Flow().run()
    RECORDED.write_text(as_json(recording.sections), "utf-8")
    REFUSALS.write_text(as_json(recording.refusals), "utf-8")
