"""Devices, plans and completions as plain values for JSON, and as tables for people. Knows the promised shape."""

from collections.abc import Sequence
from dataclasses import asdict

from rich.markup import escape
from rich.table import Table

from hetero.cli.output import table
from hetero.types import Completion, TokenLogprob
from placement import DataLabel, Device, EncryptedStage, Plan, Stage, format_plan
from placement.plans import ENCRYPTED


def device_document(device: Device) -> dict[str, object]:
    """A device with all its fields."""
    return asdict(device)


def stage_document(stage: Stage) -> dict[str, object]:
    """A stage: where it runs, and whether that is emulated."""
    return {
        "device": stage.device.name,
        "engine": stage.engine,
        "first": stage.first,
        "last": stage.last,
        "precision": stage.precision,
        "emulated": stage.device.emulated,
        "node": stage.device.node,
    }


def encrypted_document(stage: EncryptedStage) -> dict[str, object]:
    """A layer on ciphertexts: where, which one, what it takes, and what its device sees."""
    return {
        "device": stage.device.name,
        "engine": ENCRYPTED,
        "layer": stage.layer,
        "parameters": stage.parameters,
        "node": stage.device.node,
        "sees": [DataLabel.CIPHERTEXT.value],
        "predicted_seconds": stage.predicted_seconds,
        "client_seconds": stage.client_seconds,
        "sent_bytes": stage.sent_bytes,
        "answered_bytes": stage.answered_bytes,
    }


def plan_document(plan: Plan) -> list[dict[str, object]]:
    return [stage_document(stage) for stage in plan.stages]


def completion_document(completion: Completion) -> dict[str, object]:
    """A completion as `hetero generate --json` prints it; `logprobs` and depths only where there are any."""
    document: dict[str, object] = {
        "text": completion.text,
        "token_ids": list(completion.token_ids),
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "finish_reason": completion.finish_reason.value,
        "seed": completion.seed,
        "plan": plan_document(completion.plan),
        "timings": asdict(completion.timings),
    }
    if completion.depths:
        document["exit_depths"] = list(completion.depths)
    if completion.logprobs:
        document["logprobs"] = [_logprob_document(entry) for entry in completion.logprobs]
    return document


def _logprob_document(entry: TokenLogprob) -> dict[str, object]:
    alternatives = [{"token_id": token_id, "logprob": logprob} for token_id, logprob in entry.alternatives]
    return {"token_id": entry.token_id, "logprob": entry.logprob, "alternatives": alternatives}


def devices_table(devices: Sequence[Device]) -> Table:
    made = table("device", "kind", "engines", "precisions", ">memory", "description")
    for device in devices:
        kind = f"{device.kind} (emulated)" if device.emulated else str(device.kind)
        memory = f"{device.memory_bytes / 2**30:.1f} GiB"
        names = (device.name, kind, ", ".join(device.engines), ", ".join(device.precisions), memory, device.description)
        made.add_row(*(escape(name) for name in names))
    return made


def plan_table(plan: Plan) -> Table:
    made = table(">stage", "device", "engine", "precision", ">blocks", "note")
    for index, stage in enumerate(plan.stages):
        note = "emulated" if stage.device.emulated else ""
        row = (str(index), stage.device.name, stage.engine, stage.precision, f"{stage.first}-{stage.last}", note)
        made.add_row(*(escape(cell) for cell in row))
    for each in plan.encrypted:
        made.add_row("", *map(escape, (each.device.name, ENCRYPTED, each.parameters, each.layer, _cost(each))))
    return made


def _cost(stage: EncryptedStage) -> str:
    """What one ciphertext takes, where that was measured."""
    if stage.predicted_seconds is None or stage.client_seconds is None:
        return "ciphertext alone; not measured"
    return (
        f"ciphertext alone: {(stage.sent_bytes or 0) / 1e6:.2f} MB there, {(stage.answered_bytes or 0) / 1e6:.2f} MB"
        f" back; {stage.predicted_seconds * 1000:.1f} ms, and {stage.client_seconds * 1000:.1f} ms of the client's"
    )


def plan_line(plan: Plan) -> str:
    """The plan as it can be given to `--plan`, with what is emulated said."""
    emulated = sorted({stage.device.name for stage in plan.stages if stage.device.emulated})
    return format_plan(plan) + (f"  ({', '.join(emulated)}: emulated)" if emulated else "")
