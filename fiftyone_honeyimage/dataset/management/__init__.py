"""Runs as a curator handles them: listed, renamed, deleted, noted upon."""
