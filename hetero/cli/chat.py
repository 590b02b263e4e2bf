"""`hetero run`: a conversation in the terminal. Knows the history; the model's chat template is the runtime's."""

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from hetero.cli import options
from hetero.cli.describe import plan_line
from hetero.cli.failures import sentence
from hetero.cli.generate import summary_line
from hetero.cli.output import note
from hetero.cli.running import check_early, read_settings, running
from hetero.errors import InvalidRequestError
from hetero.types import SamplingParams

if TYPE_CHECKING:
    from hetero.runtime import Runtime

_HELP = """/help   this list
/reset  forget the conversation
/exit   leave (also Ctrl-D)
Ctrl-C  stop the answer"""


def run(
    model: options.Model,
    plan: options.Plan = None,
    precision: options.Precision = None,
    max_tokens: options.MaxTokens = 512,
    temperature: options.Temperature = 0.7,
    top_k: options.TopK = 0,
    top_p: options.TopP = 0.95,
    min_p: options.MinP = 0.0,
    repetition_penalty: options.RepetitionPenalty = 1.0,
    seed: options.Seed = None,
    stop: options.Stop = None,
    context: options.Context = None,
    address: options.Address = None,
    config: options.Config = None,
) -> None:
    """Talk with a model in the terminal."""
    sampling = SamplingParams(
        max_tokens, temperature, top_k, top_p, min_p, repetition_penalty, seed, stop=tuple(stop or ())
    )
    flags = {"plan": plan, "precision": precision, "context": context, "address": address}
    settings = read_settings(config, flags)
    check_early(model, sampling)
    with running(model, settings) as runtime:
        note().print(f"{model} on {plan_line(runtime.plan)}; /help lists the commands", style="dim", markup=False)
        Conversation(runtime, sampling).hold()


class Conversation:
    """The messages so far, and the loop that reads one, answers it, and keeps both."""

    def __init__(self, runtime: "Runtime", sampling: SamplingParams) -> None:
        self._runtime = runtime
        self._sampling = sampling
        self._messages: list[dict[str, str]] = []

    def hold(self) -> None:
        """Read and answer until the end of input, /exit, or Ctrl-C at the prompt."""
        if sys.stdin.isatty():
            with suppress(ImportError):
                import readline  # noqa: F401  # gives input() its line editing
        with suppress(EOFError):
            while (line := input(">>> " if sys.stdin.isatty() else "").strip()) != "/exit":
                self._take(line)

    def _take(self, line: str) -> None:
        if line == "/reset":
            self._messages.clear()
            note().print("the conversation is forgotten", style="dim")
        elif line.startswith("/"):
            note().print(_HELP, style="dim", markup=False)
        elif line:
            self._answer(line)

    def _answer(self, line: str) -> None:
        self._messages.append({"role": "user", "content": line})
        try:
            answer = self._stream()
        except InvalidRequestError as error:
            self._messages.pop()
            note().print(f"{sentence(error)}; /reset forgets what was said", markup=False)
            return
        self._messages.append({"role": "assistant", "content": answer})

    def _stream(self) -> str:
        """Print the answer as it comes. Ctrl-C stops it, and keeps what was said until then."""
        pieces: list[str] = []
        stream = self._runtime.stream(self._messages, self._sampling)
        try:
            with stream:
                for chunk in stream:
                    pieces.append(chunk.text)
                    print(chunk.text, end="", flush=True)
                print(flush=True)
                if sys.stderr.isatty():
                    note().print(summary_line(stream.result()), style="dim", markup=False)
        except KeyboardInterrupt:
            print(" ...", flush=True)
        return "".join(pieces)
