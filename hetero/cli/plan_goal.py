"""From the flags of `hetero plan` to what is asked of the placer: objective, requests, limits, power.

Knows the flags' spelling; knows neither models' folders nor profiles.
"""

import math
from collections.abc import Mapping, Sequence

from hetero.automatic import asked_objective
from hetero.cli.plan_question import Question
from hetero.errors import ConfigurationError
from hetero.models.config import DecoderConfig, ModelConfig
from hetero.placing import Goal, objective_of, usual_traffic
from placement import Constraints, Traffic
from placement.plans import parse_pins
from placement.problem import Bounds, Objective, Power

#: The field of `Bounds` that each objective's word means.
_BOUNDS = {
    "latency": "latency_seconds",
    "ttft": "first_token_seconds",
    "throughput": "requests_per_second",
    "energy": "energy_joules",
}


def make_goal(question: Question, config: ModelConfig) -> Goal:
    """What the flags ask of the placer.

    Raises ConfigurationError or placement.PlanSyntaxError.
    """
    precision = question.settings.precision
    constraints = Constraints(
        pins=tuple(pin for text in question.pins for pin in parse_pins(text)),
        excluded=frozenset(question.excluded),
        precisions=frozenset({precision}) if precision else None,
    )
    objective = objective_of(question.objective)
    if objective is Objective.LATENCY:
        objective = asked_objective(question.settings.plan) or objective
    traffic, cores = _traffic(question, config), "all" if question.split_cpu else "measured"
    power = Power(_numbers(question.power, "--power")) if question.power else None
    return Goal(objective, traffic, constraints, _bounds(question.bounds), power, cores)  # type: ignore[arg-type]


def _traffic(question: Question, config: ModelConfig) -> Traffic:
    """Requests as the flags say, usual ones else. Raises ConfigurationError where they do not fit the context."""
    context = min(question.settings.context or config.max_context, config.max_context)
    usual = usual_traffic(context, question.concurrency, question.settings.max_batch_tokens)
    prompt, output = question.prompt_tokens or usual.prompt_tokens, question.output_tokens or usual.output_tokens
    longest = prompt + output if isinstance(config, DecoderConfig) else prompt
    if longest > context:
        raise ConfigurationError(
            f"requests of {longest} tokens do not fit the context of {context} tokens;"
            " give fewer --prompt-tokens or --output-tokens"
        )
    return Traffic(
        prompt,
        output,
        question.concurrency,
        question.settings.context,
        usual.chunk_tokens,
        survival=_survival(question.survival),
    )


def _survival(text: str | None) -> tuple[float, ...]:
    """One probability a block, parted by commas. How many, and that they lie within 0 and 1, the placer checks."""
    return tuple(_number(part, "--survival") for part in text.split(",")) if text else ()


def _bounds(texts: Sequence[str]) -> Bounds:
    given = _numbers(texts, "--bound")
    for word in given:
        if word not in _BOUNDS:
            raise ConfigurationError(f"there is no bound on {word!r}; choose one of {', '.join(_BOUNDS)}")
    return Bounds(**{_BOUNDS[word]: number for word, number in given.items()})


def _numbers(texts: Sequence[str], flag: str) -> Mapping[str, float]:
    """NAME=NUMBER of each text. Raises ConfigurationError naming the flag."""
    found: dict[str, float] = {}
    for text in texts:
        name, equals, number = text.partition("=")
        if not (name and equals):
            raise ConfigurationError(f"{flag} {text!r} is not of the form NAME=NUMBER")
        found[name] = _number(number, flag)
    return found


def _number(text: str, flag: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ConfigurationError(f"{flag} {text!r} is not a number") from None
    if not math.isfinite(number) or number < 0:
        raise ConfigurationError(f"{flag} {text!r} must be finite and not negative")
    return number
