"""A suspect model is asked about a marking, and the verdict is kept."""
