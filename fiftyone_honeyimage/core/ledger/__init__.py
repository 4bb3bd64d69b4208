"""The owner's secret record of a marking, what is committed of it, and the evidence that comes out of it."""
