"""Experiments of a running installation: its runs, and the export of what came of them."""
