"""What a calibration found, bound to the deployment that it was made on; as JSON beside the model.

A report that speaks of other weights, another partition, engine, precision or KV rule promises nothing here. Knows
values; knows neither files nor how they were measured.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from adaptive.bounds import Bound
from adaptive.errors import AdaptiveError, StaleReportError
from adaptive.load import KvRule
from adaptive.policy import NEVER, ExitPolicy, policy_of
from adaptive.profile import ExitProfile, read_profile

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """On what a report was made. `engines`: each stage's engine, version and account of its device, in order."""

    weights: str
    heads: str
    partition: str
    engines: tuple[str, ...]
    precisions: tuple[str, ...]
    kv_rule: KvRule

    def differences(self, other: "Fingerprint") -> tuple[str, ...]:
        """In words, where this one and `other` differ."""
        pairs = ((field.name, getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return tuple(f"{_plain(name)} {_text(own)} is now {_text(now)}" for name, own, now in pairs if own != now)


def _plain(name: str) -> str:
    return {"kv_rule": "the KV rule", "heads": "the exits"}.get(name, f"the {name}")


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """Thresholds with their promise. `exits`: the depths kept. `thresholds`: those certified, the safest first, the
    last one in use; the ones before it are what a monitor tightens to, or a request that allows less. `bounds`: of each
    the upper confidence bound on the risk. `aurocs`: by measure, at every exit.
    """

    fingerprint: Fingerprint
    policy: ExitPolicy
    exits: tuple[int, ...]
    thresholds: tuple[float, ...]
    epsilon: float
    delta: float
    samples: int
    loss: str
    risk: float
    bounds: tuple[float, ...]
    method: Bound
    profile: ExitProfile
    head_blocks: float
    aurocs: Mapping[str, tuple[float, ...]]
    made_at: str

    @property
    def threshold(self) -> float:
        """What scores must reach to stop."""
        return self.thresholds[-1]

    def limits(self, tightened: int = 0, max_disagreement: float | None = None) -> tuple[float, ...]:
        """For each exit of the policy the limit in use, infinite where it was not kept.

        `tightened` halves the way to the safest threshold each time. A smaller `max_disagreement` takes the last
        threshold that the same tests certify at it; never one beyond epsilon.
        """
        index = (len(self.thresholds) - 1) >> tightened
        while max_disagreement is not None and index > 0 and self.bounds[index] > max_disagreement:
            index -= 1
        return tuple(self.thresholds[index] if depth in self.exits else NEVER for depth in self.policy.depths)

    def check(self, now: Fingerprint) -> None:
        """Raise StaleReportError, saying what changed, unless the report was made on this deployment."""
        differences = self.fingerprint.differences(now)
        if differences:
            raise StaleReportError(
                f"the calibration report does not fit what runs: {'; '.join(differences)};"
                " answers come from full depth until `hetero calibrate` is run again"
            )

    def text(self) -> str:
        """JSON; `read_report` reads it back."""
        document = asdict(self)
        document["policy"] = self.policy.document()
        document["profile"] = self.profile.document()
        document["block_count"] = self.profile.block_count
        document["thresholds"] = [_number(value) for value in self.thresholds]
        document["format"] = FORMAT
        return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _number(value: float) -> float | str:
    return value if abs(value) != NEVER else "never"


def read_report(text: str) -> CalibrationReport:
    """Raises AdaptiveError where the text is no report of this format."""
    try:
        found = json.loads(text)
        if found.pop("format") != FORMAT:
            raise ValueError("its format is another one")
        count = int(found.pop("block_count"))
        found["fingerprint"] = _fingerprint_of(found["fingerprint"])
        found["policy"] = policy_of(found["policy"])
        found["profile"] = read_profile(found["profile"], count)
        found["exits"], found["bounds"] = tuple(found["exits"]), tuple(map(float, found["bounds"]))
        found["thresholds"] = tuple(NEVER if value == "never" else float(value) for value in found["thresholds"])
        found["method"] = Bound(found["method"])
        found["aurocs"] = {name: tuple(values) for name, values in found["aurocs"].items()}
        return CalibrationReport(**found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AdaptiveError(f"the calibration report cannot be read ({error}); run `hetero calibrate` again") from None


def _fingerprint_of(mark: Mapping[str, Any]) -> Fingerprint:
    names = (str(mark["weights"]), str(mark["heads"]), str(mark["partition"]))
    return Fingerprint(*names, tuple(mark["engines"]), tuple(mark["precisions"]), KvRule(mark["kv_rule"]))
