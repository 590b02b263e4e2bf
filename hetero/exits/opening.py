"""Whether a model that starts gets its exits, and what promises they carry: heads and report against what runs.

Knows files, the plan and the engines' reports; starts nothing. Whatever does not fit means full depth, and why is said.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from adaptive.errors import AdaptiveError, StaleReportError
from adaptive.load import KvRule
from adaptive.measures import Measure
from adaptive.policy import ExitPolicy
from adaptive.report import CalibrationReport, Fingerprint
from hetero.backends.base import ExitSpec, SliceReport
from hetero.errors import ModelError
from hetero.exits.control import ExitControl
from hetero.exits.identity import weights_digest
from hetero.exits.report_files import read_stored_report
from hetero.exits.storage import check_card, has_exits, heads_digest, read_card
from hetero.models.config import EncoderConfig, ModelConfig
from placement import Plan, format_plan

logger = logging.getLogger(__name__)

#: `auto`: where a report fits; `observe`: all exits are looked at and nothing stops; `off`: the stages have none.
#: Some depths: exits at these are looked at. `verify`, `release`, `skip`: for decoders, whose first stage has the exit.
Wish = Literal["auto", "off", "observe", "verify", "release", "skip"] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """What the stages get, what the engine gets, and why."""

    spec: ExitSpec | None
    report: CalibrationReport | None
    reason: str


def open_exits(folder: Path, config: ModelConfig, plan: Plan, wish: Wish) -> Opened:
    """The exits of the model in `folder` under `plan`. Raises ModelError only where they are to be observed."""
    if wish == "off" or not isinstance(config, EncoderConfig):
        return Opened(None, None, "exits were not asked for" if wish == "off" else "the model is a decoder")
    if wish == "observe" or isinstance(wish, tuple):
        card = read_card(folder)
        check_card(folder, card, config)
        plain = ExitPolicy(Measure.MAXIMUM, card.depths, (1.0,) * len(card.depths))
        cuts = card.depths if wish == "observe" else wish
        return Opened(ExitSpec(plain, heads_digest(folder), cuts), None, "the exits are only observed")
    if not has_exits(folder):
        return Opened(None, None, "the model has no exits; train them with `hetero train-exits`")
    return _by_report(folder, config, plan)


def _by_report(folder: Path, config: EncoderConfig, plan: Plan) -> Opened:
    try:
        check_card(folder, read_card(folder), config)
        report = read_stored_report(folder)
        if report is None:
            return Opened(None, None, "the exits are not calibrated; run `hetero calibrate`")
        # What engines say of themselves is known only once they run.
        report.check(replace(fingerprint_of(folder, plan, ()), engines=report.fingerprint.engines))
    except (ModelError, AdaptiveError) as error:
        logger.warning("%s", error)
        return Opened(None, None, str(error))
    spec = ExitSpec(report.policy, heads_digest(folder), report.exits)
    return Opened(spec if report.exits else None, report, "calibrated on this deployment")


def make_control(
    folder: Path, config: ModelConfig, plan: Plan, reports: Sequence[SliceReport], wish: Wish
) -> ExitControl:
    """The engine's part, once the stages run. Raises ModelError as `open_exits` does."""
    opened = open_exits(folder, config, plan, wish)
    report, reason = opened.report, opened.reason
    if report is not None:
        try:
            report.check(fingerprint_of(folder, plan, reports))
        except StaleReportError as error:
            logger.warning("%s", error)
            report, reason = None, str(error)
    observable = len(opened.spec.policy.depths) if opened.spec else 0
    return ExitControl(config.block_count, report, reason, observable)


def fingerprint_of(folder: Path, plan: Plan, reports: Sequence[SliceReport], heads: str | None = None) -> Fingerprint:
    """On what a calibration holds: the very weights and heads, the plan, and what the engines say of themselves.

    `heads` names exits that have no file.
    """
    return Fingerprint(
        weights_digest(folder),
        heads or heads_digest(folder),
        format_plan(plan),
        tuple(f"{report.engine} {report.engine_version} on {report.device}" for report in reports),
        tuple(stage.precision for stage in plan.stages),
        KvRule.NONE,
    )
