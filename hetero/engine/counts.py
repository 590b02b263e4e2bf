"""What a decoder's engine has done since its start, and the tokens of each row out of a step's. Numbers only."""

from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass

from hetero.batch import SampledToken


@dataclass(slots=True)
class Counts:
    """Counts since the start, written by the engine's thread alone. `exit_tokens` were first said by an exit."""

    steps: int = 0
    finished: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    computed_tokens: int = 0
    drafted_tokens: int = 0
    accepted_drafts: int = 0
    verifications: int = 0
    exit_tokens: int = 0

    def drafts(self, runs: Items[Items[SampledToken]]) -> None:
        """Count the drafts of each row's tokens."""
        lasts = [run[-1] for run in runs]
        self.drafted_tokens += sum(token.drafted for token in lasts)
        self.accepted_drafts += sum(len(run) - 1 for run in runs)
        self.verifications += sum(token.drafted > 0 for token in lasts)

    def token(self, token: SampledToken) -> None:
        """Count a token of a completion."""
        self.completion_tokens += 1
        self.exit_tokens += token.accepted or token.exited


def runs_of(tokens: Items[SampledToken]) -> Iterator[list[SampledToken]]:
    """The tokens of each row: drafts that held, and the one that ends the row."""
    run: list[SampledToken] = []
    for token in tokens:
        run.append(token)
        if not token.accepted:
            yield run
            run = []
