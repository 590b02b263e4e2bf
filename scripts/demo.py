"""`make demo`: the embedded model behind gRPC, on one stage and then cut over three, read by a client process.

Shows the devices, the plan and why, the streamed text, each stage's time, how deep each token had to go to be said, and
that nothing is left running. Ends with an error where the texts differ.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

import hetero
from hetero.cli.describe import devices_table, plan_line
from hetero.cli.output import starting
from hetero.cluster import connect
from hetero.progress import Progress
from hetero.runtime import Runtime
from hetero.server.server import Server
from hetero.server.settings import ServerSettings
from placement import Device

MODEL = "tiny"
PROMPT = "Once upon a time"
TOKENS = 64
#: Blocks of the embedded model after which its head says well enough what all blocks say.
EXIT = 4
CLIENT = Path(__file__).parent.parent / "examples" / "client.py"

console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def main() -> int:
    before = children()
    with starting() as tell:
        tell(Progress("cluster", "starting Ray"))
        cluster = connect()
    with cluster:
        title("The model on one device")
        one, devices, blocks = serve_and_ask(None)
        title("The same text, its layers cut over three stages")
        three, _, _ = serve_and_ask(three_stages(devices, blocks))
        title("Once more: an exit inside the model says what it can, the other blocks verify it")
        early = serve_with_exits()
    title("What is shown")
    same = one == three == early
    console.print(
        f"the texts are {'equal' if same else '[red]NOT equal[/red]'}: {len(one)} characters, {TOKENS} tokens"
    )
    left = wait_for_end(before)
    console.print(f"processes left running: {len(left)}{''.join(f' {name}' for name in left)}")
    return 0 if same and not left else 1


def serve_and_ask(plan: str | None) -> tuple[str, Sequence[Device], int]:
    """Serve the model on `plan`, print what happens, and give the text with the devices and the number of blocks."""
    with Server(ServerSettings(port=0)) as server:
        with starting() as tell:
            runtime = Runtime(MODEL, plan, on_progress=tell)
        with runtime:
            server.attach(runtime)
            if plan is None:
                console.print(devices_table(runtime.devices()))
                console.print()
            console.print(f"plan    {plan_line(runtime.plan)}", markup=False)
            console.print(f"because {runtime.plan.reason}", markup=False)
            console.print(f"server  127.0.0.1:{server.port} (gRPC)\n", markup=False)
            text = ask(server.port)
            show_stages(runtime)
            server.close()
            return text, runtime.devices(), runtime.plan.block_count


def ask(port: int) -> str:
    """Let a client in a process of its own stream the completion, and print it as it comes."""
    command = [sys.executable, str(CLIENT), f"127.0.0.1:{port}", PROMPT, str(TOKENS)]
    console.print(PROMPT, style="bold", end="", markup=False)
    pieces: list[bytes] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        while piece := client.stdout.read1():  # type: ignore[attr-defined]  # a buffered reader has it
            pieces.append(piece)
            sys.stdout.buffer.write(piece)
            sys.stdout.flush()
    if client.returncode:
        sys.exit(client.returncode)
    return b"".join(pieces).decode()


def serve_with_exits() -> str:
    """Serve the model with its exit drafting, and print the text: bold where it was said early, and held."""
    with Server(ServerSettings(port=0)) as server, Runtime(MODEL, exits="verify", draft_depth=EXIT) as runtime:
        server.attach(runtime)
        with hetero.connect(f"127.0.0.1:{server.port}") as client:
            chunks = list(client.stream(PROMPT, max_tokens=TOKENS, repetition_penalty=1.2))
        blocks = runtime.plan.block_count
        console.print(PROMPT, end="", markup=False)
        for chunk in chunks:
            early = bool(chunk.depths) and max(chunk.depths) < blocks
            console.print(chunk.text, style="bold green" if early else None, end="", markup=False)
        depths = [depth for chunk in chunks for depth in chunk.depths]
        counts = ", ".join(f"{depths.count(depth)} after {depth}" for depth in sorted(set(depths)))
        console.print(f"\n\nof {len(depths)} tokens, by the blocks after which each was first said: {counts}")
        console.print("blocks  " + " ".join(map(str, depths)), markup=False)
        server.close()
        return "".join(chunk.text for chunk in chunks) + "\n"  # as the client process ends its text


def three_stages(devices: Sequence[Device], blocks: int) -> str:
    """CPU by OpenVINO, the NPU, and the GPU where there is one, else the CPU by torch."""
    last = next((device.name for device in devices if device.kind == "gpu"), "cpu/torch")
    first_cut, second_cut = blocks // 3, 2 * blocks // 3
    return f"cpu/openvino:0-{first_cut},npu:{first_cut}-{second_cut},{last}:{second_cut}-{blocks}"


def show_stages(runtime: Runtime) -> None:
    """What ran where, as the engines say, and how long each stage computed."""
    stats = runtime.stats()
    made = Table(
        "blocks", "device", "as its engine reports it", "weights", "compiled in", "computed", "a step", box=None
    )
    for index, (stage, report) in enumerate(zip(runtime.plan.stages, runtime.reports, strict=True)):
        seconds = stats.stage_seconds[index]
        version = report.engine_version.split(", ")[0].split("-")[0]
        made.add_row(
            f"{stage.first}-{stage.last}",
            f"{stage.device.name} (emulated)" if stage.device.emulated else stage.device.name,
            f"{report.engine} {version}: {report.device}, {report.precision}",
            f"{report.weight_bytes / 2**20:.1f} MiB",
            f"{report.compile_seconds:.2f} s",
            f"{seconds * 1000:.0f} ms",
            f"{seconds / stats.steps * 1000:.2f} ms",
        )
    console.print()
    console.print(made)


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def wait_for_end(before: set[int]) -> list[str]:
    """The names of processes that this one has started and that do not end within ten seconds."""
    started = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    _, alive = psutil.wait_procs(started, timeout=10)
    return [child.name() for child in alive]


def title(text: str) -> None:
    console.print()
    console.rule(f"[bold]{text}", align="left")
    console.print()


if __name__ == "__main__":
    started_at = time.monotonic()
    code = main()
    console.print(f"finished in {time.monotonic() - started_at:.0f} s")
    sys.exit(code)
