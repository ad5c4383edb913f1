"""The process of a trial: a `Trial` as JSON on standard input, a `TrialResult` on standard output.

`loading.try_model` starts it.
"""

from __future__ import annotations

import sys

import msgspec

from feedmill.streams.releases.loading import Trial, limit_this_process, run_trial


def main() -> None:
    """Limit this process, then try the model that standard input names."""
    trial = msgspec.json.decode(sys.stdin.buffer.read(), type=Trial)
    limit_this_process()
    sys.stdout.buffer.write(msgspec.json.encode(run_trial(trial)))
