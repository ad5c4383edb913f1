"""Experiments on readers: who gets which arm, and what an arm's effect is."""
