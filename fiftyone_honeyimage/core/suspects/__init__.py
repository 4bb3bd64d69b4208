"""Suspect models, queried as black boxes: one file a way to query a model."""

from .answers import MAX_LOSS, OUTPUTS, Answers
from .base import CHANNELS, Preprocessing, Suspect
from .callable_suspect import CallableSuspect
from .loading import load_suspect
from .onnx import OnnxSuspect
from .predictions import PredictionsSuspect
from .protocol import Protocol
from .query import Asking, cause_of, check_answerable, check_batch_size, query
from .torchscript import TorchScriptSuspect

__all__ = [
    "CHANNELS",
    "MAX_LOSS",
    "OUTPUTS",
    "Answers",
    "Asking",
    "CallableSuspect",
    "OnnxSuspect",
    "PredictionsSuspect",
    "Preprocessing",
    "Protocol",
    "Suspect",
    "TorchScriptSuspect",
    "cause_of",
    "check_answerable",
    "check_batch_size",
    "load_suspect",
    "query",
]
