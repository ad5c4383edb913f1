"""The command line: one module a command; `cli/main.py` puts them together."""
