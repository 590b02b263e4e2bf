"""Stream a completion from a server that runs elsewhere (`hetero serve tiny`).

python examples/client.py [ADDRESS] [PROMPT] [MAX_TOKENS]
"""

import sys

import hetero


def main(address: str = "localhost:50051", prompt: str = "Once upon a time", max_tokens: str = "64") -> None:
    with hetero.connect(address) as client:
        for chunk in client.stream(prompt, max_tokens=int(max_tokens), repetition_penalty=1.2):
            print(chunk.text, end="", flush=True)
        print()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except hetero.HeteroError as error:
        sys.exit(f"client: {error}")
