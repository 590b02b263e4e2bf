"""The card of a trained head: what it is for, how it was trained, and what is guaranteed of its training rows.

Values, their JSON and their reading aloud. Knows neither weights nor files.
"""

import json
from dataclasses import asdict, dataclass

from privacy.errors import MechanismError
from privacy.heads.network import HeadShape, InputNoise
from privacy.types import Guarantee

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Training:
    """How the weights came about. `noise_multiplier` is 0 where they were trained without DP."""

    rows: int
    steps: int
    sample_rate: float
    gradient_clip: float
    noise_multiplier: float


@dataclass(frozen=True, slots=True)
class HeadCard:
    """All about a head but its weights. `guarantee` is None where its training rows are not protected."""

    backbone: str
    #: Digest of the backbone's files; a head gives nonsense on another's vectors.
    backbone_fingerprint: str
    labels: tuple[str, ...]
    shape: HeadShape
    training: Training
    guarantee: Guarantee | None
    #: The local DP that its inputs are meant to carry.
    input_noise: InputNoise | None = None

    def to_json(self) -> str:
        """One JSON document, for `read_card`."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"

    def to_markdown(self) -> str:
        """The card for people."""
        return "\n".join([*self._heading(), "", "## Guarantee", "", *self._promise(), "", *self._inputs()]) + "\n"

    def _heading(self) -> list[str]:
        kind = f"one hidden layer of {self.shape.hidden}" if self.shape.hidden else "linear"
        return [
            f"# A head for {self.backbone}",
            "",
            f"Says which of {', '.join(self.labels)} a text is from the model's {self.shape.features} numbers: {kind}.",
            f"Trained on {self.training.rows} rows in {self.training.steps} steps.",
        ]

    def _promise(self) -> list[str]:
        stated, training = self.guarantee, self.training
        if stated is None:
            return ["None: whoever has the weights may learn which rows it was trained on, and parts of them."]
        return [
            f"(epsilon {stated.epsilon:.3g}, delta {stated.delta:.3g})-differential privacy of each {stated.unit}"
            f" ({stated.adjacency}) against {stated.observer}, over {stated.lifetime}."
            f" Accountant: {stated.accountant}.",
            "",
            f"DP-SGD: each row joins a step with probability {training.sample_rate:.4g}, its gradient is clipped to"
            f" {training.gradient_clip:g}, and the sum gets discrete Gaussian noise of {training.noise_multiplier:.4g}"
            " times that, drawn by OpenDP from the operating system's randomness.",
            "",
            "Not covered: several rows of one person, other heads that were trained on the same rows (their budgets"
            " add up), settings that were chosen by trying them on these rows, the number of rows and the names of"
            " the labels (they count as public), and the texts that are classified.",
        ]

    def _inputs(self) -> list[str]:
        if self.input_noise is None:
            return []
        noise = self.input_noise
        return [
            "## Inputs",
            "",
            f"Trained for vectors of {self.shape.inputs} numbers that a client clipped to {noise.clip:g} and noised,"
            f" each number with a standard deviation of {noise.deviation:.4g}.",
        ]


def read_card(text: str) -> HeadCard:
    """The card of a JSON document. Raises MechanismError where it is none of this format."""
    try:
        given = json.loads(text)
        if given.pop("format") != FORMAT:
            raise MechanismError("the head's card is of another format; train the head anew")
        return HeadCard(
            given["backbone"],
            given["backbone_fingerprint"],
            tuple(given["labels"]),
            HeadShape(**given["shape"]),
            Training(**given["training"]),
            Guarantee(**given["guarantee"]) if given["guarantee"] else None,
            InputNoise(**given["input_noise"]) if given["input_noise"] else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise MechanismError("the head's card cannot be read; train the head anew") from None
