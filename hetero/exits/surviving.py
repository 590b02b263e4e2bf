"""What a calibrated model's report says to the placer: which share of inputs reaches each block, and from where.

Knows the report beside the model; knows neither plans nor devices. Whatever does not fit counts as full depth.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from adaptive.errors import AdaptiveError
from adaptive.load import survival_weights
from hetero.errors import ModelError
from hetero.exits.report_files import read_stored_report
from hetero.exits.storage import check_card, has_exits, read_card
from hetero.models.config import EncoderConfig, ModelConfig
from placement.problem import ExitPoint, Traffic


@dataclass(frozen=True, slots=True)
class Surviving:
    """`weights`: for each block what its load is to be multiplied by. `partition`: the plan calibrated on.

    `head_blocks`: what looking at an exit costs, in blocks.
    """

    weights: tuple[float, ...]
    exits: tuple[int, ...]
    partition: str
    head_blocks: float

    def applied(self, traffic: Traffic) -> Traffic:
        """The traffic with these exits."""
        points = tuple(ExitPoint(depth, self.head_blocks) for depth in self.exits)
        return replace(traffic, survival=self.weights, exits=points)

    def account(self, partition: str) -> str:
        """In words, what figures of the plan `partition` count on, and whether the exits are certified there."""
        shares = ", ".join(f"{weight:.2f}" for weight in self.weights)
        exits = ", ".join(map(str, self.exits))
        said = f"with exits at {exits}, as calibrated, blocks are reached by these shares of inputs: {shares}"
        if partition == self.partition:
            return said
        return f"{said}; that was on {self.partition}: run `hetero calibrate` on this plan, or all go to full depth"


def measured_survival(folder: Path, config: ModelConfig) -> Surviving | None:
    """The report's; None where there is none that fits the weights, or nothing leaves early."""
    if not isinstance(config, EncoderConfig) or not has_exits(folder):
        return None
    try:
        check_card(folder, read_card(folder), config)
        report = read_stored_report(folder)
    except (ModelError, AdaptiveError):
        return None
    if report is None or not report.exits:
        return None
    mark = report.fingerprint
    return Surviving(survival_weights(report.profile, mark.kv_rule), report.exits, mark.partition, report.head_blocks)
