"""The protected release of a marked dataset, written, read back and remembered."""
