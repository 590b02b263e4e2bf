"""What a plan must obey besides times: pins, exclusions, precisions and trust; and why something is refused.

Values, and the order of data labels. Knows neither costs nor solving. Trust is a mask: a device that may not see what a
stage sees cannot hold that stage at any price.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class DataLabel(StrEnum):
    """What crosses a boundary. Raw tokens say the most; ciphertext says nothing to who has not the key."""

    CIPHERTEXT = "ciphertext"
    HIDDEN = "hidden"
    EMBEDDING = "embedding"
    LOGITS = "logits"
    RAW_TOKENS = "raw-tokens"


#: Each label and those that may be seen by whoever may see it. Hidden states lead back to embeddings and these to
#: tokens only by an attack; logits give the output away, so that they and hidden states are not comparable.
COVERS: Mapping[DataLabel, frozenset[DataLabel]] = {
    DataLabel.CIPHERTEXT: frozenset({DataLabel.CIPHERTEXT}),
    DataLabel.HIDDEN: frozenset({DataLabel.HIDDEN, DataLabel.CIPHERTEXT}),
    DataLabel.EMBEDDING: frozenset({DataLabel.EMBEDDING, DataLabel.HIDDEN, DataLabel.CIPHERTEXT}),
    DataLabel.LOGITS: frozenset({DataLabel.LOGITS, DataLabel.CIPHERTEXT}),
    DataLabel.RAW_TOKENS: frozenset(DataLabel),
}


@dataclass(frozen=True, slots=True)
class Trust:
    """Which labels each device may see. A device that is not named may see nothing at all.

    `boundary_labels[i]` is the label of what crosses the boundary before block i, and the last one that of what leaves
    the last block: one more than there are blocks. Empty: raw tokens, hidden states, and logits at the end. A stage
    sees what enters it, what leaves it, and every boundary between its blocks.
    """

    clearances: Mapping[str, frozenset[DataLabel]]
    boundary_labels: tuple[DataLabel, ...] = ()

    def labels(self, block_count: int) -> tuple[DataLabel, ...]:
        """One label a boundary, `block_count` + 1 of them."""
        usual = (DataLabel.RAW_TOKENS, *[DataLabel.HIDDEN] * (block_count - 1), DataLabel.LOGITS)
        return self.boundary_labels or usual

    def permits(self, device: str, label: DataLabel) -> bool:
        """Whether some clearance of the device covers the label."""
        return any(label in COVERS[clearance] for clearance in self.clearances.get(device, ()))


@dataclass(frozen=True, slots=True)
class Pin:
    """Blocks [first, last) are one stage on this device; engine and precision are free where None."""

    device: str
    first: int
    last: int
    engine: str | None = None
    precision: str | None = None


@dataclass(frozen=True, slots=True)
class Constraints:
    """What must hold. `precisions` None: every one that a device has. Emulated devices are left out unless allowed.

    An emulated device that is pinned is allowed by that.
    """

    pins: tuple[Pin, ...] = ()
    excluded: frozenset[str] = frozenset()
    allow_emulated: bool = False
    precisions: frozenset[str] | None = None
    max_stages: int | None = None
    trust: Trust | None = None


class RefusalReason(StrEnum):
    """Why a device, an engine on it, or a stage cannot be."""

    MEMORY = "memory"
    ENGINE = "engine"
    PRECISION = "precision"
    PIN = "pin"
    EXCLUDED = "excluded"
    EMULATED = "emulated"
    TRUST = "trust"
    POWER_UNKNOWN = "power-unknown"
    LOST = "lost"
    BOUND = "bound"
    STAGE_COUNT = "stage-count"


#: What to do about each reason, as the end of a sentence.
WAY_OUT: Mapping[RefusalReason, str] = {
    RefusalReason.MEMORY: "lower the concurrency, the context or the precision, or add a device",
    RefusalReason.ENGINE: "choose another engine or precision for the device that refused",
    RefusalReason.PRECISION: "allow another precision",
    RefusalReason.PIN: "change or drop a pin",
    RefusalReason.EXCLUDED: "take a device back in",
    RefusalReason.EMULATED: "allow emulated devices",
    RefusalReason.TRUST: "give a device the clearance for what it would see",
    RefusalReason.POWER_UNKNOWN: "name the power of every device, or choose another objective",
    RefusalReason.LOST: "bring the device back",
    RefusalReason.BOUND: "loosen the bound",
    RefusalReason.STAGE_COUNT: "allow more stages",
}


@dataclass(frozen=True, slots=True)
class PlacementRefusal:
    """One thing that cannot be, why, and a sentence that says so. Ranges are half-open; None: no range in particular.

    `engine` and `precision` are empty where the refusal is of the device whatever drives it.
    """

    reason: RefusalReason
    sentence: str
    device: str = ""
    engine: str = ""
    precision: str = ""
    first: int | None = None
    last: int | None = None
