"""Alarms of a running engine, as rules for Prometheus: feedmill.rules.yml."""
