"""Search documents without telling the server what for: it scores ciphertexts, the best are picked here.

python examples/private_search.py MODEL QUERY [FILE ...]

MODEL is an encoder's folder or hub id, such as sentence-transformers/all-MiniLM-L6-v2. Without files the paragraphs of
this project's own documentation are searched. Server and client are both in this process only for the example's sake:
elsewhere the server is `hetero private serve --documents INDEX`.
"""

import sys
from contextlib import ExitStack, closing
from pathlib import Path

from hetero import Runtime
from hetero.encrypted_models import documents
from hetero.private import PrivateSearch, connect_private
from hetero.server.encrypted_server import EncryptedServer
from hetero.server.encrypted_service import Encrypted
from hetero.server.settings import ServerSettings
from privacy.he.gateway import Gateway

ROOT = Path(__file__).parent.parent


def paragraphs(files: list[Path]) -> list[str]:
    """Every paragraph of the files that is longer than a heading."""
    texts = (" ".join(part.split()) for file in files for part in file.read_text(encoding="utf-8").split("\n\n"))
    return [text for text in texts if len(text) > 60]


def main(model: str, query: str, *names: str) -> None:
    files = [Path(name) for name in names] or sorted((ROOT / "docs").rglob("*.md"))
    titles = paragraphs(files)
    with ExitStack() as stack:
        encoder = stack.enter_context(Runtime(model, in_process=True))
        index = documents("paragraphs", titles, encoder.embed(titles), encoder=model)
        gateway = stack.enter_context(closing(Gateway([index])))
        server = stack.enter_context(EncryptedServer(ServerSettings(port=0), Encrypted(gateway)))
        client = stack.enter_context(connect_private(f"localhost:{server.port}"))
        remote = client.model("paragraphs")
        sent = remote.prepare()
        print(f"{len(titles)} paragraphs; {sent.size_bytes / 1e6:.1f} MB of public keys were sent, once\n")
        for hit in PrivateSearch(remote, encoder.embed)([query], top=3)[0]:
            print(f"{hit.score:.3f}  {hit.title[:160]}")
        print(f"\n{remote.description.statement}")


if __name__ == "__main__":
    main(*sys.argv[1:])
