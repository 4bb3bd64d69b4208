"""Measurements on real data, each of them a command; results stand beside them as JSON."""
