"""The steps from a model's name to a running engine, each undone in reverse order when a later one fails.

Knows which parts exist and in which order they start; `runtime.py` is what callers see. Ray is touched only where the
stages are to be actors.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from hetero.automatic import Proposal, asked_objective, propose
from hetero.backends.base import KvSpec
from hetero.capacity import KvWishes, choose_kv
from hetero.engine.engine import Engine
from hetero.engine.settings import EngineSettings
from hetero.errors import ConfigurationError
from hetero.models.catalogue import describe_layers
from hetero.models.config import DecoderConfig, ModelConfig
from hetero.models.config_reader import read_config
from hetero.models.source import resolve
from hetero.models.tokenizer import Tokenizer
from hetero.pipeline.base import Pipeline
from hetero.placing import Goal, usual_traffic
from hetero.planning import plan_model
from hetero.probe import Running, settle
from hetero.progress import Progress, ProgressCallback
from placement.constraints import Constraints
from placement.problem import Objective
from placement.types import Device, Plan

DEFAULT_CONTEXT_TOKENS = 4096
_STORED_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """How a model is to be run; None leaves the choice to the runtime. `address` is a Ray cluster's.

    `cache` is the folder of profiles for a plan of ``auto``; None: the usual one.
    """

    plan: str | Plan | None = None
    precision: str | None = None
    context_tokens: int | None = None
    address: str | None = None
    max_sequences: int = 16
    kv_blocks: int | None = None
    kv_memory_bytes: int | None = None
    max_batch_tokens: int = 512
    max_waiting: int = 256
    micro_batches: int = 0
    threads: int = 0
    in_process: bool = False
    cache: Path | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """All that was started for one model; whoever holds the stack that started them closes them."""

    folder: Path
    config: ModelConfig
    context_tokens: int
    devices: tuple[Device, ...]
    plan: Plan
    tokenizer: Tokenizer
    pipeline: Pipeline
    engine: Engine


def start_parts(model: str, settings: RuntimeSettings, tell: ProgressCallback, undo: ExitStack) -> Parts:
    """Start everything for `model`; `undo` gets a closing step for each part, also when a later one fails.

    Raises ModelError, ConfigurationError, BackendError or placement.PlacementError.
    """
    tell(Progress("model", f"reading {model}"))
    folder = resolve(model)
    config = read_config(folder)
    context_tokens = choose_context(settings.context_tokens, config.max_context)
    tokenizer = Tokenizer(folder)
    devices = _find_devices(settings, tell, undo)
    proposal = _choose_plan(folder, config, context_tokens, devices, settings)
    tell(Progress("plan", proposal.plan.reason))
    running = _run_plan(folder, config, context_tokens, proposal, settings, tell)
    undo.callback(running.pipeline.close)
    tell(Progress("engine", "starting the engine"))
    engine = Engine(running.pipeline, tokenizer, config, _engine_settings(running.kv, context_tokens, settings))
    undo.callback(engine.close)
    engine.start()
    tell(Progress("ready", f"{model} is ready"))
    return Parts(folder, config, context_tokens, devices, running.plan, tokenizer, running.pipeline, engine)


def choose_context(wanted: int | None, model_tokens: int) -> int:
    """Tokens of prompt and completion together. Raises ConfigurationError where the model does not reach so far."""
    if wanted is None:
        return min(model_tokens, DEFAULT_CONTEXT_TOKENS)
    if not 1 <= wanted <= model_tokens:
        raise ConfigurationError(f"the context is {wanted} tokens but must be from 1 to the model's {model_tokens}")
    return wanted


def _find_devices(settings: RuntimeSettings, tell: ProgressCallback, undo: ExitStack) -> tuple[Device, ...]:
    if settings.in_process:
        from hetero.devices import local_devices

        tell(Progress("devices", "looking for devices"))
        return local_devices()
    from hetero.cluster import connect, discover

    tell(Progress("cluster", "connecting to Ray"))
    cluster = connect(settings.address)
    undo.callback(cluster.close)
    tell(Progress("devices", "looking for devices"))
    return discover(cluster)


def _choose_plan(
    folder: Path, config: ModelConfig, context_tokens: int, devices: tuple[Device, ...], settings: RuntimeSettings
) -> Proposal:
    if isinstance(settings.plan, Plan):
        return Proposal(settings.plan)
    objective = asked_objective(settings.plan)
    text = None if objective else settings.plan
    plan = plan_model(folder, config, devices, text, precision=settings.precision, kv_tokens=context_tokens)
    if objective is None:
        return Proposal(plan)
    return propose(folder, config, devices, _goal(objective, context_tokens, settings), plan, settings.cache)


def _goal(objective: Objective, context_tokens: int, settings: RuntimeSettings) -> Goal:
    concurrency = settings.max_sequences if objective is Objective.THROUGHPUT else 1
    return Goal(
        objective,
        usual_traffic(context_tokens, concurrency, settings.max_batch_tokens),
        Constraints(precisions=frozenset({settings.precision}) if settings.precision else None),
        "none" if settings.in_process else "measured",
    )


def _run_plan(
    folder: Path,
    config: ModelConfig,
    context_tokens: int,
    proposal: Proposal,
    settings: RuntimeSettings,
    tell: ProgressCallback,
) -> Running:
    """Start the plan; one that must beat a single device is measured against it, and the winner is what runs."""

    def start(plan: Plan) -> Running:
        kv = _choose_kv(folder, config, context_tokens, plan, settings)
        return Running(plan, _start_pipeline(folder, plan, kv, settings, tell), kv)

    if proposal.rival is None:
        return start(proposal.plan)
    settled = settle(start, proposal, proposal.rival, config)
    tell(Progress("plan", settled.plan.reason))
    return settled


def _choose_kv(
    folder: Path, config: ModelConfig, context_tokens: int, plan: Plan, settings: RuntimeSettings
) -> KvSpec | None:
    if not isinstance(config, DecoderConfig):
        return None
    wishes = KvWishes(settings.max_sequences, context_tokens, settings.kv_blocks, settings.kv_memory_bytes)
    return choose_kv(wishes, plan, describe_layers(folder, config), _STORED_BYTES.get(config.dtype, 4))


def _start_pipeline(
    folder: Path, plan: Plan, kv: KvSpec | None, settings: RuntimeSettings, tell: ProgressCallback
) -> Pipeline:
    def on_progress(stage: int, text: str) -> None:
        tell(Progress("stage", text, stage, len(plan.stages)))

    if settings.in_process:
        from hetero.pipeline.local import LocalPipeline

        return LocalPipeline(folder, plan, kv, threads=settings.threads, on_progress=on_progress)
    from hetero.pipeline.actor import ActorPipeline

    return ActorPipeline(folder, plan, kv, threads=settings.threads, on_progress=on_progress)


def _engine_settings(kv: KvSpec | None, context_tokens: int, settings: RuntimeSettings) -> EngineSettings:
    return EngineSettings(
        block_count=kv.block_count if kv else 0,
        block_tokens=kv.block_tokens if kv else 32,
        max_sequences=settings.max_sequences,
        max_context=context_tokens,
        max_batch_tokens=settings.max_batch_tokens,
        micro_batches=settings.micro_batches,
        max_waiting=settings.max_waiting,
    )
