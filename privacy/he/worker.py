"""The process that reads tenants' bytes and computes on them: `python -m privacy.he.worker FD LIMITS`.

Takes one job at a time from its gateway's socket, under limits that it cannot lift. Holds models and public keys; no
secret is ever in its reach, and it knows no tenant: keys have a name that the gateway gives them. Every refusal is one
sentence of ours; what SEAL says, which may hold numbers, stays here.
"""

import json
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privacy.errors import EncryptionError
from privacy.he import accept
from privacy.he.frames import FrameError, receive_frame, send_frame
from privacy.he.limits import Limits, confine
from privacy.he.model import EncodedModel
from privacy.he.parameters import ParameterSet, named_parameters
from privacy.he.sealing import to_bytes
from privacy.he.transfer import spec_from_parts

Parts = Sequence[bytes]
Reply = tuple[dict[str, Any], list[bytes]]
_NO_LIMIT = 1 << 40


@dataclass(frozen=True, slots=True)
class _Keys:
    parameters: ParameterSet
    galois: Any
    relinearisation: Any
    size_bytes: int


class Worker:
    """Models by digest and keys by name; `answer` does one job."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._models: dict[str, EncodedModel] = {}
        self._keys: OrderedDict[str, _Keys] = OrderedDict()
        self._jobs: dict[str, Callable[[dict[str, Any], Parts], Reply]] = {
            "model": self._model,
            "keys": self._accept,
            "apply": self._apply,
            "ping": _ping,
        }

    def answer(self, header: dict[str, Any], parts: Parts) -> Reply:
        """The reply to one job: what it gave, or one sentence that refuses."""
        began = time.process_time()
        try:
            reply, answers = self._jobs[header["job"]](header, parts)
        except EncryptionError as error:
            return {"refused": str(error)}, []
        except MemoryError:
            return {"refused": "the encrypted work needs more memory than its worker may use"}, []
        except Exception:
            return {"refused": "the encrypted work cannot be done on these bytes"}, []
        return {**reply, "seconds": time.process_time() - began}, answers

    def _model(self, header: dict[str, Any], parts: Parts) -> Reply:
        self._models[header["digest"]] = EncodedModel(spec_from_parts(parts))
        return {}, []

    def _accept(self, header: dict[str, Any], parts: Parts) -> Reply:
        parameters = named_parameters(header["parameters"])
        context, galois, relinearisation = parts
        accept.accept_context(context, parameters)
        keys = accept.accept_galois(galois, parameters)
        # As read, keys are twice as long as their seeded form.
        size = 2 * len(galois) + 2 * len(relinearisation)
        made = _Keys(parameters, keys, accept.accept_relinearisation(relinearisation, parameters), size)
        self._keys[header["keys"]] = made
        self._forget()
        return {}, []

    def _apply(self, header: dict[str, Any], parts: Parts) -> Reply:
        model = self._models[header["digest"]]
        keys = self._keys.get(header["keys"])
        if keys is None:
            return {"missing": True}, []
        self._keys.move_to_end(header["keys"])
        if keys.parameters != model.parameters or (model.relinearises and keys.relinearisation is None):
            raise EncryptionError("the keys are not of the model's parameters; make them by its description")
        accept.require_rotations(keys.galois, model.rotations, model.parameters)
        ciphertext = accept.accept_ciphertext(parts[0], model.parameters)
        return {}, [to_bytes(answer) for answer in model(ciphertext, keys.galois, keys.relinearisation)]

    def _forget(self) -> None:
        """Drop the keys that were used longest ago, until the rest is within bounds."""
        while len(self._keys) > 1 and sum(keys.size_bytes for keys in self._keys.values()) > self._limits.key_bytes:
            self._keys.popitem(last=False)


def _ping(header: dict[str, Any], parts: Parts) -> Reply:
    return {"peak_bytes": _peak_bytes()}, []


def _peak_bytes() -> int:
    """What this program has held at most; ru_maxrss would begin at what the process that started it held."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def serve(channel: socket.socket, limits: Limits) -> None:
    """Answer jobs until the gateway is gone."""
    worker = Worker(limits)
    send_frame(channel, {"ready": True})
    while True:
        try:
            header, parts = receive_frame(channel, _NO_LIMIT)
            reply, answers = worker.answer(header, parts)
            send_frame(channel, reply, answers)
        except FrameError:
            return


def main() -> None:
    descriptor, limits = int(sys.argv[1]), json.loads(sys.argv[2])
    bounds = Limits(**{**limits, "cores": tuple(limits["cores"])})
    confine(bounds)
    with socket.socket(fileno=descriptor) as channel:
        serve(channel, bounds)


if __name__ == "__main__":
    main()
