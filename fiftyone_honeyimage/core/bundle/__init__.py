"""A bundle that a lawyer opens: evidence, a report on it, the checker, images or their digests, time-stamps, in one zip."""
