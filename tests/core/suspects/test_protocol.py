"""The protocol: what is fixed before the first query, and refused before that."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.ledger.protocol import PROTOCOL_KEYS, UNMARKED_KEYS, check_protocol
from fiftyone_honeyimage.core.suspects import Preprocessing, Protocol, load_suspect
from fiftyone_honeyimage.core.suspects.base import CHANNELS
from fiftyone_honeyimage.core.suspects.competence import Competence
from fiftyone_honeyimage.core.suspects.protocol import class_indices

FIXED = {"classes": {"cat": 0, "dog": 1}, "outputs": "logits", "batch_size": 8}


def test_classes_are_a_mapping_by_name_however_they_are_given():
    assert class_indices(["b", "a"]) == class_indices({"a": 1, "b": 0}) == {"b": 0, "a": 1}
    assert list(class_indices({"a": 1, "b": 0})) == ["b", "a"], "in the order of the outputs"


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("cats", "several names"),
        (["a", "b", "a"], "a class twice: 'a'"),
        ({"a": 0, "b": 2}, "each index from 0 to 1 once"),
        ({"a": 0, "b": 0}, "each index from 0 to 1 once"),
        ({"a": 0, "b": -1}, "each index from 0 to 1 once"),
        ({"a": 0, "b": True}, "got True for 'b'"),
        ({"a": 0, "b": "1"}, "got '1' for 'b'"),
        ([1, 2], "the name of a class is a text, got 1"),
        (["a"], "at least two"),
        ([], "at least two"),
    ],
)
def test_classes_that_name_no_outputs_are_refused(classes, message):
    with pytest.raises(ParameterError, match=message):
        class_indices(classes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outputs": "auto"}, "got 'auto'"),
        ({"outputs": "scores"}, "got 'scores'"),
        ({"batch_size": 0}, "batch_size"),
        ({"mean": (0.5, 0.5)}, "mean is three numbers"),
        ({"std": (0.5, 0.5, 0)}, "std is three numbers"),
        ({"channels": "GRB"}, "channels must be 'RGB' or 'BGR'; found 'GRB'"),
        ({"input_size": -1}, "-1"),
    ],
)
def test_a_protocol_is_checked_before_anything_is_asked(change, message):
    with pytest.raises(ParameterError, match=message):
        Protocol(**{**FIXED, **change})


def test_everything_that_turns_images_into_answers_is_in_it(trained):
    suspect = load_suspect(trained, input_size=8, mean=[0.1] * 3, std=[0.2] * 3, channels="BGR")
    reference = load_suspect(lambda batch: batch, name="innocent")
    protocol = Protocol.of(suspect, ["a", "b"], "labels", 5, [reference], caution="odd")
    plain = protocol.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["classes"] == {"a": 0, "b": 1}
    assert (plain["outputs"], plain["score"]) == ("labels", "right or wrong")
    assert (plain["input_size"], plain["batch_size"], plain["channels"]) == ([8, 8], 5, "BGR")
    assert (plain["mean"], plain["std"], plain["device"]) == ([0.1] * 3, [0.2] * 3, "cpu")
    assert plain["references"] == ["innocent"]
    assert plain["caution"] == "odd"
    # Every parameter of the preparation is a field here: one that is added must be added here too
    assert set(Preprocessing.__dataclass_fields__) <= set(plain)
    assert "caution" not in protocol.asking()
    assert protocol == Protocol.of(suspect, ["a", "b"], "labels", 5, [reference])


def test_channels_can_be_given_in_the_other_order(trained, real_digits):
    image = np.zeros((2, 2, 3), np.uint8)
    image[..., 0] = 255
    batch = Preprocessing(channels="BGR", mean=(0.25, 0.5, 0.5), std=(0.5, 1, 1))([image])
    assert batch[0, :, 0, 0].tolist() == [-0.5, -0.5, 0.5]
    assert torch.equal(batch[0, :, 0, 0], batch[0, :, 1, 1])


@pytest.mark.parametrize("outputs", ["logits", "probabilities", "labels"])
@pytest.mark.parametrize("channels", CHANNELS)
def test_the_ledger_takes_what_a_protocol_says_and_nothing_else(outputs, channels):
    found = Competence(3, None, 0.5, None, {"BGR": 0.75}, 0.0, {"std = 1": 1.0}).to_dict()
    made = Protocol(
        **{**FIXED, "outputs": outputs, "batch_size": 4096},
        input_size=32,
        mean=(0, 0.5, 1),
        std=(1 / 255, 0.5, 1),
        channels=channels,
        way="OnnxSuspect",
        references=["ab" * 32],
        unmarked=found,
        caution="It could not be checked.",
    ).to_dict()
    kind = "labels" if outputs == "labels" else "scores"
    assert set(made) == set(PROTOCOL_KEYS)
    assert set(found) == set(UNMARKED_KEYS)
    assert check_protocol(made, kind, ["cat"]) == json.loads(json.dumps(made))
