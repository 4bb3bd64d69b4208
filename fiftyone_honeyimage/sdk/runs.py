"""The runs and notes that a dataset keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..public import public

if TYPE_CHECKING:
    import fiftyone.core.collections as foc

    from ..dataset.management.notes import Note
    from ..dataset.management.run_list import RunSummary


@public
def list_runs(samples: foc.SampleCollection) -> list[RunSummary]:
    """Lists the hardness runs, markings and verifications of a dataset, oldest first."""
    from ..dataset.management.run_list import list_runs as run

    return run(samples)


@public
def rename_run(samples: foc.SampleCollection, key: str, new_key: str) -> None:
    """Renames a marking, with its field, tag and saved view, or a verification.

    Raises:
        SamplesError: if there is no such run
        ParameterError: if the new key is taken or not an identifier
    """
    from ..dataset.management.run_list import rename_run as run

    run(samples, key, new_key)


@public
def delete_run(samples: foc.SampleCollection, key: str, delete_files: bool = False) -> None:
    """Deletes a hardness run, a marking with its verifications, or a verification.

    Args:
        samples: the dataset
        key: the run's key
        delete_files (False): for a marking, whether to delete its HoneyImage files and its ledger
            too. Without the ledger no release of this marking can ever be verified

    Raises:
        SamplesError: if there is no such run
    """
    from ..dataset.management.run_list import delete_run as run

    run(samples, key, delete_files=delete_files)


@public
def read_note(samples: foc.SampleCollection, key: str) -> Note:
    """Reads the note that people keep on a hardness run, a marking or a verification.

    Returns:
        a ``Note``: its ``text``, empty if there is none, and who wrote it when

    Raises:
        SamplesError: if there is no such run
    """
    from ..dataset.management.notes import read_note as run

    return run(samples, key)


@public
def write_note(samples: foc.SampleCollection, key: str, text: str, user: str | None = None) -> Note:
    """Writes the note on a run, in place of the one that was there; an empty text deletes it.

    It is kept with the run on the dataset: a rename keeps it, deleting the run deletes it, and no
    release or evidence file holds it.

    Args:
        samples: the dataset
        key: the run's key
        text: the note, at most 10,000 characters
        user (None): who writes it; the operating system's user by default

    Raises:
        SamplesError: if there is no such run
        ParameterError: if the text is too long
    """
    from ..dataset.management.notes import write_note as run

    return run(samples, key, text, user)


@public
def save_workspace(samples: foc.SampleCollection) -> bool:
    """Saves the workspace ``"HoneyImage"``, which opens both panels beside the grid of the App.

    :func:`generate_honeyimages` does so too. A workspace of that name is never overwritten.

    Args:
        samples: the dataset

    Returns:
        whether the workspace of that name is this plugin's; False if it is somebody else's
    """
    from ..dataset.workspace import save_workspace as run

    return run(samples)
