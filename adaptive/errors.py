"""The errors of dynamic depth.

AdaptiveError
  CalibrationError  thresholds cannot be certified from what was given
  StaleReportError  a report speaks of another deployment

Each takes one message string and has no constructor of its own: exceptions cross processes by pickling.
"""


class AdaptiveError(Exception):
    """Root of the errors of dynamic depth. The message is one sentence that names the thing and the way out."""


class CalibrationError(AdaptiveError):
    """No threshold can be certified: too few samples, values out of range, or a promise that cannot be kept."""


class StaleReportError(AdaptiveError):
    """A calibration report speaks of other weights, another partition, engine, precision or KV rule."""
