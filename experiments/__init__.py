"""The analysis of experiments: a user's arm, what is exported of users, and an arm's effect.

`events/experiment.py` has the setting, `operations/experiments/` exports and reads a running
experiment, `cli/` has the commands.
"""
