"""The errors of placement: every one carries a single sentence, so that it survives pickling across actors."""


class PlacementError(Exception):
    """A plan cannot be made, read or honoured."""


class PlanSyntaxError(PlacementError):
    """The text of a plan is not of the form DEVICE[/ENGINE][@PRECISION]:FIRST-LAST,..."""


class UnknownDeviceError(PlacementError):
    """A plan names a device or an engine that is not there."""


class IncompletePlanError(PlacementError):
    """A plan's ranges overlap, leave a gap, or do not cover exactly the model's blocks."""


class WorkloadError(PlacementError):
    """A workload file is not one: empty, cyclic, or with a number that cannot be."""


class InfeasibleError(PlacementError):
    """No legal plan exists; the message names the constraint that rules it out."""


class ProfileError(PlacementError):
    """Measurements cannot be used: of another model or machine, incomplete, or with a time that cannot be."""
