"""HoneyImage for FiftyOne: prove that a model was trained on your image dataset."""

__version__ = "0.1.0"
