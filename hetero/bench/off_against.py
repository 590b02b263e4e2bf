"""What a request without a policy runs here and in another checkout: lines of our own Python, counted in the server.

Counted and not timed: two copies of one version differ in time by more than what is looked for, and in lines by next to
nothing. What runs inside libraries and the model is the same in both and is left out, so a share of these lines is more
than the share of a request.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low

from hetero.client import Client
from hetero.errors import BackendError

PROMPT, TOKENS = "Once upon a time", 4
HERE = Path(__file__).parents[2]
#: What a server does once its answer has left, it has done by then.
_SETTLED_SECONDS = 0.05

#: Serves without a policy; for each line that comes, tells how many lines of each file in its folder ran so far.
_SERVER = """
import collections, json, sys, threading
model, folder = sys.argv[1:]
counts = collections.Counter()

def count(frame, event, argument):
    if event == "line":
        counts[frame.f_code.co_filename, threading.get_ident()] += 1
    return count

def by_file():
    sums = collections.Counter()
    for (name, thread), lines in list(counts.items()):
        sums[name[len(folder) + 1:]] += lines
    return sums

def trace(frame, event, argument):
    return count if frame.f_code.co_filename.startswith(folder) else None

threading.settrace(trace)
from hetero import Runtime
from hetero.server.server import Server
from hetero.server.settings import ServerSettings
with Runtime(model, in_process=True, threads=1) as runtime, Server(ServerSettings(port=0)) as server:
    server.attach(runtime)
    print(server.port, flush=True)
    for line in sys.stdin:
        print(json.dumps(by_file()), flush=True)
"""


#: Lines a request by file: the median of all requests.
Lines = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Against:
    """This checkout and another one."""

    here: Lines
    other: Lines

    def changed(self) -> dict[str, tuple[int, int]]:
        """Lines there and here, of files that differ."""
        pairs = {file: (self.other.get(file, 0), self.here.get(file, 0)) for file in {**self.other, **self.here}}
        return {file: pair for file, pair in sorted(pairs.items()) if pair[0] != pair[1]}


def count_against(model: str, other: Path, requests: int, tell: Callable[[str], None]) -> Against:
    """Count in so many requests of each, one checkout after the other."""
    tell("counting here")
    here = _counted(model, HERE, requests)
    tell(f"counting in {other}")
    return Against(here, _counted(model, other.resolve(), requests))


def _counted(model: str, folder: Path, requests: int) -> Lines:
    with _serving(model, folder) as process, Client(f"localhost:{_line(process)}") as client:
        for _ in range(3):
            _request(process, client)
        counts = [_request(process, client) for _ in range(requests)]
    return {file: median_low(each[file] for each in counts) for file in set().union(*counts)}


@contextmanager
def _serving(model: str, folder: Path) -> "Iterator[subprocess.Popen[str]]":
    """A server of the code in `folder`, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER, model, str(folder)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _request(process: "subprocess.Popen[str]", client: Client) -> Counter[str]:
    before = _lines_so_far(process)
    client.generate(PROMPT, max_tokens=TOKENS, ignore_eos=True)
    time.sleep(_SETTLED_SECONDS)
    return _lines_so_far(process) - before


def _lines_so_far(process: "subprocess.Popen[str]") -> Counter[str]:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return Counter(json.loads(_line(process)))


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise BackendError("the server that was to be measured ended; run its code by itself to see why")
    return line
