"""The command line: one module a command, each a click command; `deploy/main.py` puts them together."""
