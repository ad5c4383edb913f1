"""For programs that write a signal of their own: `signal_app`, a Faust app over `posts`.

No stage and no worker imports this package.
"""

from feedmill.streams.own_signal.signal_app import SignalApp, signal_app

__all__ = ["SignalApp", "signal_app"]
