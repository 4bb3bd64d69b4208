"""The methods: torch, NumPy and SciPy, and no FiftyOne anywhere below."""
