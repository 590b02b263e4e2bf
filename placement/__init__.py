"""Where does each layer run?

The nouns (`Device`, `Link`, `Layer`, `Stage`, `Plan`), the text form of a plan, what was measured (`Profile`), and the
choice: `choose(PlacementProblem(...))`. Knows nothing of models' weights, of engines' code, or of processes.
"""

from placement.choose import Alternative, Choice, choose
from placement.constraints import Constraints, DataLabel, Pin, PlacementRefusal, RefusalReason, Trust
from placement.drawing import draw_svg, draw_text
from placement.encrypted import EncryptedLayer, encrypted_stage, hybrid_plan
from placement.errors import (
    IncompletePlanError,
    InfeasibleError,
    PlacementError,
    PlanSyntaxError,
    ProfileError,
    UnknownDeviceError,
    WorkloadError,
)
from placement.explain import MeasuredRun, choice_document, choice_text, figures_document, measured_text
from placement.figures import Figures, HopFigures, StageFigures, predict
from placement.pareto import pareto_choices
from placement.plans import default_precision, format_plan, format_stage, parse_plan
from placement.problem import Bounds, ModelShape, Objective, PlacementProblem, Power, Traffic
from placement.profiles import (
    Contention,
    EncryptedTime,
    Fingerprint,
    LinkTime,
    Profile,
    Refusal,
    SegmentMemory,
    SegmentTime,
)
from placement.replan import DriftMonitor, DriftSettings, LossPlan, MigrationCosts, Proposal, plans_for_losses
from placement.single import Demand, demand_of, single_device_plan
from placement.types import Device, DeviceKind, EncryptedStage, Layer, Link, Plan, Stage

__all__ = [
    "Alternative",
    "Bounds",
    "Choice",
    "Constraints",
    "Contention",
    "DataLabel",
    "Demand",
    "Device",
    "DeviceKind",
    "DriftMonitor",
    "DriftSettings",
    "EncryptedLayer",
    "EncryptedStage",
    "EncryptedTime",
    "Figures",
    "Fingerprint",
    "HopFigures",
    "IncompletePlanError",
    "InfeasibleError",
    "Layer",
    "Link",
    "LinkTime",
    "LossPlan",
    "MeasuredRun",
    "MigrationCosts",
    "ModelShape",
    "Objective",
    "Pin",
    "PlacementError",
    "PlacementProblem",
    "PlacementRefusal",
    "Plan",
    "PlanSyntaxError",
    "Power",
    "Profile",
    "ProfileError",
    "Proposal",
    "Refusal",
    "RefusalReason",
    "SegmentMemory",
    "SegmentTime",
    "Stage",
    "StageFigures",
    "Traffic",
    "Trust",
    "UnknownDeviceError",
    "WorkloadError",
    "choice_document",
    "choice_text",
    "choose",
    "default_precision",
    "demand_of",
    "draw_svg",
    "draw_text",
    "encrypted_stage",
    "figures_document",
    "format_plan",
    "format_stage",
    "hybrid_plan",
    "measured_text",
    "pareto_choices",
    "parse_plan",
    "plans_for_losses",
    "predict",
    "single_device_plan",
]
