"""Suspect models, queried as black boxes: one file a way to query a model."""

from .answers import MAX_LOSS, OUTPUTS, Answers
from .base import CHANNELS, Preprocessing, Suspect
from .callable_suspect import CallableSuspect
from .denoising import DenoisingSuspect
from .loading import SUSPECTS, kind_of, load_suspect, titles
from .onnx import OnnxSuspect
from .predictions import PredictionsSuspect
from .protocol import Protocol
from .query import Asking, cause_of, check_answerable, check_batch_size, query
from .torchscript import TorchScriptSuspect
from .wrappers import Cached, Logged, RateLimited, Retrying, Wrapper

__all__ = [
    "CHANNELS",
    "MAX_LOSS",
    "OUTPUTS",
    "SUSPECTS",
    "Answers",
    "Asking",
    "Cached",
    "CallableSuspect",
    "DenoisingSuspect",
    "Logged",
    "OnnxSuspect",
    "PredictionsSuspect",
    "Preprocessing",
    "Protocol",
    "RateLimited",
    "Retrying",
    "Suspect",
    "TorchScriptSuspect",
    "Wrapper",
    "cause_of",
    "check_answerable",
    "check_batch_size",
    "kind_of",
    "load_suspect",
    "query",
    "titles",
]
