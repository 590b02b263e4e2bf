"""Between wire messages and `privacy.he`'s types, both ways: descriptions of encrypted models, headers of keys."""

from collections.abc import Sequence

from hetero.v1 import encrypted_pb2 as wire
from privacy.errors import EncryptionError
from privacy.he.description import Description
from privacy.he.keys import KeyBundle
from privacy.he.packing import Packing
from privacy.he.spec import Kind

_LAYOUT = ("slots", "rows", "columns", "copies", "share", "period", "lane", "rows_each")


def model_to_wire(model: Description, queries_left: int | None, seconds: float | None) -> wire.EncryptedModel:
    """A model's description for one tenant; labels go their own way."""
    made = wire.EncryptedModel(
        name=model.name,
        digest=model.digest,
        kind=model.kind.value,
        parameters=model.parameter_name,
        taken=_layout_to_wire(model.taken),
        given=_layout_to_wire(model.given),
        rotations=model.rotations,
        relinearise=model.relinearise,
        norm_bound=model.norm_bound,
        label_count=len(model.labels),
        queries_per_epoch=model.queries_per_epoch,
        epoch_seconds=model.epoch_seconds,
        statement=model.statement,
        encoder=model.encoder,
    )
    if queries_left is not None:
        made.queries_left = queries_left
    if seconds is not None:
        made.seconds_per_ciphertext = seconds
    return made


def model_from_wire(message: wire.EncryptedModel, labels: Sequence[str] = ()) -> Description:
    """The description; its numbers are checked by who uses it. Raises EncryptionError for an unknown kind."""
    try:
        kind = Kind(message.kind)
    except ValueError:
        raise EncryptionError("the server's model is of a kind that this client does not know; update it") from None
    return Description(
        name=message.name,
        digest=message.digest,
        kind=kind,
        parameter_name=message.parameters,
        taken=_layout_from_wire(message.taken),
        given=_layout_from_wire(message.given),
        rotations=tuple(message.rotations),
        relinearise=message.relinearise,
        norm_bound=message.norm_bound,
        labels=tuple(labels),
        queries_per_epoch=message.queries_per_epoch,
        epoch_seconds=message.epoch_seconds,
        statement=message.statement,
        encoder=message.encoder,
    )


def keys_header(bundle: KeyBundle) -> wire.KeysHeader:
    return wire.KeysHeader(
        parameters=bundle.parameter_name,
        digest=bundle.digest,
        context_bytes=len(bundle.context),
        galois_bytes=len(bundle.galois),
        relinearisation_bytes=len(bundle.relinearisation),
    )


def sizes_of(header: wire.KeysHeader) -> tuple[int, int, int]:
    """Lengths of the parts that follow a header."""
    return header.context_bytes, header.galois_bytes, header.relinearisation_bytes


def bundle_of(header: wire.KeysHeader, data: bytearray) -> KeyBundle:
    """The parts that `data` holds one after the other. Raises EncryptionError where they are not all there."""
    context, galois, relinearisation = sizes_of(header)
    if len(data) != context + galois + relinearisation:
        raise EncryptionError("the upload ended before all bytes of the keys had come; send them again")
    at, view = context + galois, memoryview(data)
    return KeyBundle(header.parameters, bytes(view[:context]), bytes(view[context:at]), bytes(view[at:]))


def _layout_to_wire(packing: Packing) -> wire.SlotLayout:
    return wire.SlotLayout(**{name: getattr(packing, name) for name in _LAYOUT})


def _layout_from_wire(message: wire.SlotLayout) -> Packing:
    return Packing(*(getattr(message, name) for name in _LAYOUT))
