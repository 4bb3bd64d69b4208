"""The marking of a dataset: from a choice of images to a run that remembers them."""
