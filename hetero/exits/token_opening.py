"""Whether a decoder that starts may take its exit at its word: the reports beside the model against what runs.

Knows files, the plan and the engines' reports; starts nothing. A report that does not fit means full depth, and why is
said; one that is missing where its mode is wished for is an error.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from adaptive.errors import AdaptiveError, StaleReportError
from adaptive.load import KvRule
from adaptive.modes import ExitMode
from adaptive.report import CalibrationReport, Fingerprint
from hetero.backends.base import SliceReport
from hetero.errors import ConfigurationError, ModelError
from hetero.exits.control import ExitControl
from hetero.exits.drafting_heads import trained_depths
from hetero.exits.opening import Wish, fingerprint_of
from hetero.exits.report_files import read_stored_report
from hetero.exits.token_exits import LOSSY, TokenExits
from hetero.models.config import DecoderConfig, ModelConfig
from placement.types import Plan

logger = logging.getLogger(__name__)

#: What becomes of the keys and values behind the exit, by mode.
KV_RULES = {ExitMode.RELEASE: KvRule.PIPELINED, ExitMode.SKIP: KvRule.DEFERRED_BATCH}
_OWN_HEAD = "the model's own head"


def certified_depth(folder: Path, mode: ExitMode, asked: int | None) -> int:
    """After how many blocks the exit of `mode` was calibrated. Raises ConfigurationError where it was not."""
    report = read_stored_report(folder, mode)
    if report is None:
        raise ConfigurationError(
            f"{folder.name} is not calibrated for the mode {mode}; run"
            f" `hetero calibrate MODEL --mode {mode} --data TEXT`, or take `--exits verify`, which changes no token"
        )
    (depth,) = report.policy.depths
    if asked not in (None, depth):
        raise ConfigurationError(
            f"the exit of the mode {mode} was calibrated after {depth} blocks, not {asked}; leave --draft-depth out,"
            " or calibrate with it"
        )
    return depth


def open_token_exits(
    folder: Path, config: ModelConfig, plan: Plan, reports: Sequence[SliceReport], wish: Wish, depth: int
) -> TokenExits | None:
    """What a decoder's exit after `depth` blocks may do on what runs; 0: it has none. None for an encoder."""
    if not isinstance(config, DecoderConfig):
        return None
    usual = ExitMode(wish) if wish in (ExitMode.VERIFY, *LOSSY) else ExitMode.OFF
    controls: dict[ExitMode, ExitControl] = {}
    refusals: dict[ExitMode, str] = {}
    for mode in LOSSY if depth else ():
        try:
            report = _fitting_report(folder, config, plan, reports, mode, depth)
        except (AdaptiveError, ModelError) as error:
            refusals[mode] = str(error)
            if mode is usual:
                logger.warning("%s", error)
        else:
            reason = "calibrated on this deployment"
            controls[mode] = ExitControl(config.block_count, report, reason, mode=mode)
    return TokenExits(depth, config.block_count, usual, controls, refusals)


def _fitting_report(
    folder: Path, config: DecoderConfig, plan: Plan, reports: Sequence[SliceReport], mode: ExitMode, depth: int
) -> CalibrationReport:
    report = read_stored_report(folder, mode)
    if report is None:
        raise AdaptiveError(f"the mode {mode} is not calibrated; run `hetero calibrate MODEL --mode {mode}`")
    if report.policy.depths != (depth,):
        raise StaleReportError(
            f"the mode {mode} was calibrated after {report.policy.depths[0]} blocks, and the exit is after {depth};"
            f" calibrate again with --at {depth}"
        )
    report.check(token_fingerprint(folder, config, plan, reports, mode, depth))
    return report


def token_fingerprint(
    folder: Path, config: DecoderConfig, plan: Plan, reports: Sequence[SliceReport], mode: ExitMode, depth: int
) -> Fingerprint:
    """On what a calibration of `mode` holds: as for encoders, and what fills the keys and values behind the exit."""
    trained = depth in trained_depths(folder, config)
    return replace(fingerprint_of(folder, plan, reports, None if trained else _OWN_HEAD), kv_rule=KV_RULES[mode])
