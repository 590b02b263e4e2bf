"""Write about documents that may not be told: the text takes after what they share, and after none of them alone.

python examples/private_documents.py [MODEL] [PLAN]
"""

import sys

from hetero.documents import DocumentWriter
from privacy.ledger.accounting import epsilon_of_rho
from privacy.mechanisms import DocumentTokens

NAMES = ["Max", "Rex", "Bob", "Tom", "Sam", "Ben", "Leo", "Tim", "Jim", "Ned", "Ted", "Kit", "Roy", "Pip", "Gus", "Bo"]
DOCUMENTS = [f"{name} the dog ran to the sea and sat by the old ship of the king. " for name in NAMES]
PROMPT = "Once upon a time, there was a"
TOKENS, DELTA = 40, 1e-6


def main(model: str = "tiny", plan: str | None = None) -> None:
    mechanism = DocumentTokens(clip=2.0, temperature=0.8, documents=len(DOCUMENTS), top_k=50)
    with DocumentWriter(model, mechanism, plan) as writer:
        written = writer.write(PROMPT, [document + PROMPT for document in DOCUMENTS], TOKENS)
    print(f"{PROMPT}{written.text}\n")
    rho = written.charge.rho
    print(f"{len(written.token_ids)} tokens, charged for {TOKENS}: rho {rho:.3f}", end="")
    print(f", ({epsilon_of_rho(rho, DELTA):.2f}, {DELTA:g})-DP of each of the {mechanism.documents} documents")


if __name__ == "__main__":
    main(*sys.argv[1:])
