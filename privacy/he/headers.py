"""The first sixteen bytes of what SEAL writes: enough to refuse what is no ciphertext before anything is charged.

Reads numbers at fixed places and nothing else, so it may run where untrusted bytes must not be parsed.
"""

import struct

from privacy.errors import EncryptionError

#: Magic, header's size, version, compression, reserved, whole size (SEAL's `Serialization::SEALHeader`).
_HEADER = struct.Struct("<HBBBBHQ")
_MAGIC = 0xA15E


def check_header(blob: bytes) -> None:
    """Raise EncryptionError unless `blob` begins as SEAL's objects do and is as long as it says."""
    if len(blob) >= _HEADER.size:
        magic, size, _, _, _, _, length = _HEADER.unpack_from(blob)
        if (magic, size, length) == (_MAGIC, _HEADER.size, len(blob)):
            return
    raise EncryptionError("the bytes are no ciphertext as SEAL writes it; encrypt with the client")
