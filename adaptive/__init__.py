"""How deep must this input go?

Answers, from the numbers seen at an exit, whether to stop there, with thresholds and what they guarantee: measures of
confidence and how well they rank (`measures`, `ranking`), the rule of stopping (`policy`), certified thresholds
(`bounds`, `certify`, `report`), the watch over them (`monitor`), and what depth costs (`profile`, `keeping`, `load`).
Knows numbers; knows neither models, engines nor processes.
"""

from adaptive.certify import Certificate, certification_floor, certify
from adaptive.errors import AdaptiveError, CalibrationError, StaleReportError
from adaptive.load import KvRule, stage_load, survival_weights
from adaptive.measures import Measure, scores
from adaptive.modes import AdaptiveChoice, ExitMode
from adaptive.monitor import RiskMonitor, Verdict
from adaptive.policy import ExitPolicy, ExitView
from adaptive.profile import ExitProfile
from adaptive.report import CalibrationReport, Fingerprint

__all__ = [
    "AdaptiveChoice",
    "AdaptiveError",
    "CalibrationError",
    "CalibrationReport",
    "Certificate",
    "ExitMode",
    "ExitPolicy",
    "ExitProfile",
    "ExitView",
    "Fingerprint",
    "KvRule",
    "Measure",
    "RiskMonitor",
    "StaleReportError",
    "Verdict",
    "certification_floor",
    "certify",
    "scores",
    "stage_load",
    "survival_weights",
]
