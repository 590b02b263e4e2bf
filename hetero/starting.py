"""The steps from a model's name to a running engine, each undone in reverse order when a later one fails.

Knows which parts exist and in which order they start; `runtime.py` is what callers see. Ray is touched only where the
stages are to be actors.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from adaptive.modes import AdaptiveChoice
from hetero.automatic import Proposal, asked_objective, propose
from hetero.backends.base import ExitSpec, KvSpec
from hetero.capacity import KvWishes
from hetero.confinement import check_trusted, sees_everything, trust_of
from hetero.engine.engine import Engine
from hetero.engine.requests import Leaving
from hetero.exits.control import ExitControl
from hetero.exits.opening import make_control, open_exits
from hetero.exits.token_exits import TokenExits
from hetero.exits.token_opening import open_token_exits
from hetero.limits import choose_cache, choose_context, choose_draft_depth, engine_settings
from hetero.models.config import ModelConfig
from hetero.models.config_reader import read_config
from hetero.models.source import resolve
from hetero.models.tokenizer import Tokenizer
from hetero.pipeline.base import Pipeline
from hetero.placing import Goal, usual_traffic
from hetero.planning import plan_model
from hetero.probe import Running, settle
from hetero.progress import Progress, ProgressCallback
from hetero.runtime_settings import RuntimeSettings
from hetero.types import SamplingParams
from placement.constraints import Constraints, Trust
from placement.problem import Objective
from placement.types import Device, Plan


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
    exits: ExitControl
    token_exits: TokenExits | None

    def leaving(self, choice: AdaptiveChoice | Leaving | None, sampling: SamplingParams) -> Leaving | None:
        """What an exit may do for a request. Raises InvalidRequestError."""
        if isinstance(choice, Leaving):
            return choice
        return self.token_exits.choose(choice, sampling) if self.token_exits else None


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
    limits = engine_settings(
        running.kv,
        context_tokens,
        running.plan,
        draft_depth=_draft_depth(folder, config, running.plan, settings),
        micro_batches=settings.micro_batches,
        max_sequences=settings.max_sequences,
        max_batch_tokens=settings.max_batch_tokens,
        max_waiting=settings.max_waiting,
    )
    deployed = (folder, config, running.plan, running.pipeline.reports, settings.exits_allowed)
    exits, of_tokens = make_control(*deployed), open_token_exits(*deployed, limits.draft_depth)
    engine = Engine(running.pipeline, tokenizer, config, limits, of_tokens or exits)
    undo.callback(engine.close)
    engine.start()
    tell(Progress("ready", f"{model} is ready"))
    parts = (folder, config, context_tokens, devices, running.plan, tokenizer, running.pipeline, engine)
    return Parts(*parts, exits, of_tokens)


def _find_devices(settings: RuntimeSettings, tell: ProgressCallback, undo: ExitStack) -> tuple[Device, ...]:
    if settings.in_process:
        from hetero.devices import local_devices

        tell(Progress("devices", "looking for devices"))
        return local_devices()
    from hetero.cluster import connect, discover
    from hetero.cluster_token import require_token

    tell(Progress("cluster", "connecting to Ray"))
    cluster = connect(settings.address)
    undo.callback(cluster.close)
    if settings.confinement:
        require_token()
    tell(Progress("devices", "looking for devices"))
    return discover(cluster)


def _choose_plan(
    folder: Path, config: ModelConfig, context_tokens: int, devices: tuple[Device, ...], settings: RuntimeSettings
) -> Proposal:
    """The plan to run, legal by the policy's clearances where there are any."""
    trust = trust_of(settings.confinement, devices, config) if settings.confinement else None
    proposal = _propose_plan(folder, config, context_tokens, devices, settings, trust)
    for plan in (proposal.plan, proposal.rival) if trust else ():
        if plan is not None and trust is not None:
            check_trusted(plan, trust)
    return proposal


def _propose_plan(
    folder: Path,
    config: ModelConfig,
    context_tokens: int,
    devices: tuple[Device, ...],
    settings: RuntimeSettings,
    trust: Trust | None,
) -> Proposal:
    if isinstance(settings.plan, Plan):
        return Proposal(settings.plan)
    objective = asked_objective(settings.plan)
    text = None if objective else settings.plan
    usable = devices if text or trust is None else _trusted(devices, trust, config)
    plan = plan_model(folder, config, usable, text, precision=settings.precision, kv_tokens=context_tokens)
    if objective is None:
        return Proposal(plan)
    return propose(folder, config, devices, _goal(objective, context_tokens, settings, trust), plan, settings.cache)


def _trusted(devices: tuple[Device, ...], trust: Trust, config: ModelConfig) -> tuple[Device, ...]:
    """The devices that may hold the whole model; all where none may, of whose plan the check then says why not."""
    return tuple(device for device in devices if sees_everything(device, trust, config.block_count)) or devices


def _goal(objective: Objective, context_tokens: int, settings: RuntimeSettings, trust: Trust | None) -> Goal:
    concurrency = settings.max_sequences if objective is Objective.THROUGHPUT else 1
    return Goal(
        objective,
        usual_traffic(context_tokens, concurrency, settings.max_batch_tokens),
        Constraints(precisions=frozenset({settings.precision}) if settings.precision else None, trust=trust),
        cores="none" if settings.in_process else "measured",
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
        wishes = KvWishes(settings.max_sequences, context_tokens, settings.kv_blocks, settings.kv_memory_bytes)
        kv = choose_cache(folder, config, plan, wishes)
        depth = _draft_depth(folder, config, plan, settings)
        extras = Extras(depth, open_exits(folder, config, plan, settings.exits_allowed).spec)
        return Running(plan, _start_pipeline(folder, plan, kv, extras, settings, tell), kv)

    if proposal.rival is None:
        return start(proposal.plan)
    settled = settle(start, proposal, proposal.rival, config)
    tell(Progress("plan", settled.plan.reason))
    return settled


def _draft_depth(folder: Path, config: ModelConfig, plan: Plan, settings: RuntimeSettings) -> int:
    return choose_draft_depth(folder, config, plan, settings.exits_allowed, settings.draft_depth)


@dataclass(frozen=True, slots=True)
class Extras:
    """What stages hold beside their blocks."""

    draft_depth: int
    exits: ExitSpec | None


def _start_pipeline(
    folder: Path,
    plan: Plan,
    kv: KvSpec | None,
    extras: Extras,
    settings: RuntimeSettings,
    tell: ProgressCallback,
) -> Pipeline:
    def on_progress(stage: int, text: str) -> None:
        tell(Progress("stage", text, stage, len(plan.stages)))

    threads, drafting, exits = settings.threads, extras.draft_depth, extras.exits
    if settings.in_process:
        from hetero.pipeline.local import LocalPipeline

        return LocalPipeline(
            folder, plan, kv, threads=threads, draft_depth=drafting, exits=exits, on_progress=on_progress
        )
    from hetero.pipeline.actor import ActorPipeline

    return ActorPipeline(folder, plan, kv, threads=threads, draft_depth=drafting, exits=exits, on_progress=on_progress)
