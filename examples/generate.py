"""Generate in this process: start a runtime, stream a completion, then ask for another with sampling.

python examples/generate.py [MODEL] [PLAN]
"""

import sys

import hetero


def main(model: str = "tiny", plan: str | None = None) -> None:
    with hetero.Runtime(model, plan) as runtime:
        print(f"{runtime.plan.reason}\n")
        for chunk in runtime.stream("Once upon a time", max_tokens=48):
            print(chunk.text, end="", flush=True)
        completion = runtime.generate("It was", max_tokens=24, temperature=0.8, top_p=0.95, seed=7)
        print(f"\n\nIt was{completion.text}")
        print(f"{completion.completion_tokens} tokens, {completion.timings.tokens_per_second:.0f} a second")


if __name__ == "__main__":
    main(*sys.argv[1:])
