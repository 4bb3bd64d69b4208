"""Errors that tell the user what was wrong and what to do."""


class HoneyImageError(ValueError):
    """Base class of every error that this package raises on purpose."""


class SamplesError(HoneyImageError):
    """The samples, their label field or their media cannot be used."""


class ParameterError(HoneyImageError):
    """A parameter has a wrong type or lies out of range."""


class ImageError(HoneyImageError):
    """An image file is missing, damaged, or of a kind that is not supported."""


class SuspectError(HoneyImageError):
    """A suspect model cannot be loaded, or its answers cannot be used."""


class LedgerError(HoneyImageError):
    """A ledger is missing, altered, or belongs to another dataset."""


class BeaconError(LedgerError):
    """A round of public randomness cannot be had yet, or is not what it should be."""


class ReleaseError(HoneyImageError):
    """A release cannot be written, or would give something away."""


class InterruptedRunError(HoneyImageError):
    """An earlier run was interrupted and cannot be resumed as it stands."""


class DatabaseError(HoneyImageError):
    """FiftyOne's database does not answer, or refuses what it is asked."""
