"""What `hetero plan --choose-exits` starts from: the sets of exits of a model that pay, and what a head costs.

Knows flags and the exits beside a model; the choice is `exits.positions`'.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hetero.automatic import asked_objective
from hetero.cli.plan_question import Question
from hetero.errors import ConfigurationError
from hetero.models.config import EncoderConfig, ModelConfig
from placement import Choice, PlacementProblem

if TYPE_CHECKING:
    from hetero.exits.positions import ExitSet


@dataclass(frozen=True, slots=True)
class Candidates:
    """Sets of exits, none among them, and the cost of looking at one in blocks."""

    sets: "tuple[ExitSet, ...]"
    head_blocks: float

    def choose(self, problem: PlacementProblem) -> tuple[PlacementProblem, Choice, str]:
        """The problem with the exits that were chosen, its choice of a plan, and both in words."""
        from hetero.exits.positions import choose_together

        found = choose_together(problem, self.sets, self.head_blocks)
        return found.problem, found.choice, found.account()


def exit_candidates(question: Question, folder: Path, config: ModelConfig) -> Candidates | None:
    """None where exits are not to be chosen.

    Raises ConfigurationError where they cannot be, ModelError where the model has none, AdaptiveError for few texts.
    """
    if question.exit_epsilon is None:
        return None
    _check(question, config)
    # Imports torch, which other plans do without.
    from hetero.exits.calibration import Wishes
    from hetero.exits.costs import head_cost_blocks
    from hetero.exits.positions import exit_sets
    from hetero.exits.storage import check_card, read_card, read_held_out

    assert isinstance(config, EncoderConfig)
    card = read_card(folder)
    check_card(folder, card, config)
    head_blocks = head_cost_blocks(folder)
    sets = exit_sets(read_held_out(folder, card), head_blocks, Wishes(epsilon=question.exit_epsilon))
    return Candidates(sets, head_blocks)


def _check(question: Question, config: ModelConfig) -> None:
    if not isinstance(config, EncoderConfig):
        raise ConfigurationError("--choose-exits is for encoders; a decoder drafts at an exit and runs every block")
    if question.survival:
        raise ConfigurationError("--choose-exits finds the survival itself; leave --survival out")
    if question.settings.plan is not None and asked_objective(question.settings.plan) is None:
        raise ConfigurationError("--choose-exits chooses the cuts, too; leave --plan out, or use --pin")
    if question.exit_epsilon is not None and not 0 < question.exit_epsilon < 1:
        raise ConfigurationError(f"--epsilon is {question.exit_epsilon:g} but must be between 0 and 1")
