"""What a release holds, as its export reports it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ReleaseReport:
    """What a release holds.

    Attributes:
        export_dir: the folder
        num_images: files in the release
        num_honeyimages: how many of them are HoneyImages
        num_relabelled: how many of them have another label than the original, as the method says
        num_withheld: how many images of the view were withheld
        num_other_honeyimages: HoneyImages of other markings that were left out
        num_left_out: originals that were left out besides: other markings chose them, they are copies of what this
            one chose, or suspects will be asked about them
        exposed_by: folders of earlier releases that hold the unmarked originals of this marking's images:
            whoever has one of them too can tell which images are marked
        seconds: how long it took
        commitment: of the ledger; publish or time-stamp it before the release
        release_digest: over the names and contents of all files of the release; the ledger's log holds it too. It
            shows later which files were released. Whoever also has both twins of every pair (a user of your App) could
            try all coins against it: publish it only where nobody can see these
        recipient: whose release it is; None where everybody gets the same
        comparable: (folder, recipient, number) of each earlier release of another recipient: whoever has that one too
            sees, by comparing, this number of images that are in one of them alone. They are tracing pairs; up to so many
            colluders as the marking allows for are named all the same
    """

    export_dir: Path
    num_images: int
    num_honeyimages: int
    num_relabelled: int
    num_withheld: int
    num_other_honeyimages: int
    num_left_out: int
    exposed_by: tuple[str, ...]
    seconds: float
    commitment: str
    release_digest: str
    recipient: str | None = None
    comparable: tuple[tuple[str, str, int], ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{self.num_images:,} images in {self.export_dir}, {self.num_honeyimages:,} of them HoneyImages; "
            f"{self.num_withheld:,} images were withheld"
        ]
        if self.num_relabelled:
            lines.append(f"{self.num_relabelled:,} images have another label than their originals")
        if self.num_left_out:
            lines.append(
                f"{self.num_left_out:,} images were left out besides: other markings chose them, suspects will be asked about them, or they are copies of marked ones"
            )
        if self.num_other_honeyimages:
            lines.append(
                f"{self.num_other_honeyimages:,} HoneyImages of other markings do not belong to it"
            )
        lines += [
            f"{folder} holds originals of both sides: whoever has it too can tell which images are marked or withheld, and a model "
            "that trained on it has seen both, so that less is shown"
            for folder in self.exposed_by
        ]
        if self.recipient is not None:
            lines[0] = f"For {self.recipient}: {lines[0]}"
        lines += [
            f"{folder} of {who} has the other side of {number:,} tracing pairs: whoever compares the two finds these"
            for folder, who, number in self.comparable
        ]
        return "\n".join(lines)
