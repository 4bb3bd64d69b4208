"""Suspect models, queried as black boxes: one file a way to query a model."""

from .base import Preprocessing, Suspect
from .callable_suspect import CallableSuspect
from .loading import load_suspect
from .onnx import OnnxSuspect
from .predictions import PredictionsSuspect
from .query import MAX_LOSS, OUTPUTS, Answers, check_answerable, query
from .torchscript import TorchScriptSuspect

__all__ = [
    "MAX_LOSS",
    "OUTPUTS",
    "Answers",
    "CallableSuspect",
    "OnnxSuspect",
    "PredictionsSuspect",
    "Preprocessing",
    "Suspect",
    "TorchScriptSuspect",
    "check_answerable",
    "load_suspect",
    "query",
]
