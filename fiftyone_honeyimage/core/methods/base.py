"""What a method is: how images are chosen and what is done to them before a release."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import ParameterError
from .options import Options
from .selection import NO_MEASURES, Candidates, select_candidates
from .selection_options import SelectionOptions

if TYPE_CHECKING:
    from ..codecs.base import Codec
    from .request import CraftRequest, CraftResult
    from .trade_off import TradeOffPlan


#: Images a key where nothing is asked for; a model hardly learns a key from fewer
DEFAULT_IMAGES_A_KEY = 8


@dataclass(frozen=True)
class RunSize:
    """What the cost of a method depends on.

    Attributes:
        num_images: images of the private set
        num_marked: images that are crafted, withheld twins too
        num_pairs: pairs of sides
        epochs: of a proxy's training
        trade_off: candidates that are also crafted at other budgets, at most
        relative_size: pixels of an image over pixels of the proxy's input
    """

    num_images: int
    num_marked: int
    epochs: int
    num_pairs: int = 0
    trade_off: int = 0
    relative_size: float = 1.0


class Method(ABC):
    """A method. One object a method, registered in ``METHODS``; it keeps nothing.

    It imports nothing heavy before :meth:`craft` is called: forms and panels ask for its words.

    Attributes:
        name: in the SDK, the ledger and the App
        title: what it is, for a curator
        Options: its parameters, a subclass of :class:`.options.Options`
        score: what a suspect's answers are compared as unless a marking says otherwise, a name in ``SCORES``
        changes_pixels: whether an image needs room for a mark
        no_room: what an image without room is, in words
        changes_labels: whether a release gives marked images other labels
        shares_secrets: whether a side is several images with one secret, ``num_honeyimages // num_pairs`` of them
        direction: whether a model that learned a side does better on it ("lower" loss) or worse ("higher"), see
            :class:`..evidence.plan.Plan`
        secret: what a suspect cannot know, so that the test is exact: ends "which of the two ... the release holds"
        num_models: proxies whose weights are kept with a marking
        default_number: what :meth:`default_num_honeyimages` is, in words
        published_by_loss: whether the published test compares losses with and without the mark, and not probabilities
    """

    name: ClassVar[str]
    title: ClassVar[str]
    Options: ClassVar[type[Options]]
    score: ClassVar[str] = "loss"
    changes_pixels: ClassVar[bool] = True
    no_room: ClassVar[str] = (
        "flat, dark or saturated nearly everywhere, where a change would be seen"
    )
    changes_labels: ClassVar[bool] = False
    shares_secrets: ClassVar[bool] = False
    direction: ClassVar[str] = "lower"
    secret: ClassVar[str] = "images"
    num_models: ClassVar[int] = 1
    default_number: ClassVar[str] = "1 % of the images, at least one a pair"
    published_by_loss: ClassVar[bool] = False

    def files_a_side(self, num_honeyimages: int, num_pairs: int) -> int:
        """How many images a side holds; ``num_pairs`` times as many are withheld.

        Raises:
            ParameterError: if the images are not shared out evenly where each needs a side's secret
        """
        if not self.shares_secrets:
            return 1
        if num_pairs < 1 or num_honeyimages % num_pairs or num_honeyimages < num_pairs:
            raise ParameterError(
                f"{self.title}: num_honeyimages must be a multiple of num_pairs, so that each secret has as many "
                f"images; found {num_honeyimages} and {num_pairs}"
            )
        return num_honeyimages // num_pairs

    def files_text(self, num_honeyimages: int, num_pairs: int) -> str:
        """In how many images each secret is, for a sentence; says so where they are too few to be learned."""
        files = self.files_a_side(num_honeyimages, num_pairs)
        found = f"each in {files:,} image{'s' * (files > 1)}"
        if files >= DEFAULT_IMAGES_A_KEY:
            return found
        return (
            f"{found}, from which a model hardly learns a secret: mark more images, or take fewer pairs, so that each is in "
            f"{DEFAULT_IMAGES_A_KEY} or more"
        )

    def default_num_honeyimages(self, num_images: int, num_pairs: int) -> int:
        """The paper's 1 % of the private set, and at least one a pair."""
        number = max(num_pairs, num_images // 100)
        return number - number % num_pairs if self.shares_secrets and num_pairs else number

    def most_changed(self, options: Any) -> float:
        """The largest change of any value that the method promises, 0–255; a file that holds more is refused."""
        return 255.0

    def choose(
        self,
        hardness: np.ndarray,
        labels: np.ndarray,
        *,
        options: Any,
        num_honeyimages: int,
        num_pairs: int,
        excluded: Mapping[str, np.ndarray],
        seed: int,
        measures: Mapping[str, np.ndarray] = NO_MEASURES,
    ) -> Candidates:
        """Chooses images and pairs them, knowing nothing of coins. By default the hardest, or by what the options of
        :class:`.selection_options.SelectionOptions` say.

        Args:
            hardness: float64 (K,), ``-inf`` where it is not known
            labels: int (K,)
            options: an instance of :attr:`Options`
            num_honeyimages, num_pairs, excluded: see :func:`.selection.select_candidates`
            seed: of the run
            measures: what :func:`.selection.measures_needed` says of the options, see :func:`.selection.select_candidates`

        Raises:
            SamplesError: if there are too few images
        """
        chosen = options if isinstance(options, SelectionOptions) else SelectionOptions()
        return select_candidates(
            hardness,
            labels,
            num_honeyimages=num_honeyimages,
            num_pairs=num_pairs,
            files_a_side=self.files_a_side(num_honeyimages, num_pairs),
            excluded=excluded,
            seed=seed,
            measures=measures,
            rule=chosen.selection,
            matched=chosen.matched,
            diverse=chosen.diverse,
        )

    def num_asked(self, options: Any) -> int:
        """How many images a suspect is asked about with a secret in them; no release holds them."""
        return 0

    def has_room(self, codec: Codec, options: Any) -> bool:
        """Whether an image can hold a mark; those that cannot are never chosen."""
        return True

    def words(self, values: Mapping[str, Any]) -> str:
        """The method as a run remembers it: its title, what every form asks, and what else is not the default."""
        asked = [
            f"{question.label.lower()} {f'{value:g}' if isinstance(value, float) else value}"
            for question in self.Options.questions()
            for value in [values.get(question.name, question.default)]
            if not question.folded or value != question.default
        ]
        return ", ".join([self.title, *asked])

    @abstractmethod
    def craft(self, request: CraftRequest) -> CraftResult:
        """Makes the marked images; both twins of a pair pass through the same steps. No coin is drawn yet."""

    def plan_trade_off(self, size: RunSize, options: Any) -> TradeOffPlan | None:
        """How much of other budgets is measured; None where the method has no budget."""
        return None

    @abstractmethod
    def passes(self, size: RunSize, options: Any) -> int:
        """How often an image goes forward and backward through a proxy."""
