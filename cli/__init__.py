"""The command line: one module a command; `deploy/main.py` puts them together."""
