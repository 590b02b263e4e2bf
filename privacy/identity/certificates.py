"""Certificates: from the subject alternative names of a verified certificate to a tenant.

Names are compared whole, with their kind before them (``DNS:host``, ``URI:spiffe://...``): a name of one kind never
stands for one of another, and nothing is matched by pattern. The common name is not looked at.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from privacy.errors import CredentialError
from privacy.identity.identifier import Presented
from privacy.policy.types import CertificateTenant
from privacy.types import Principal

if TYPE_CHECKING:
    from cryptography.x509 import GeneralName

#: What a policy may write before a name; without a kind a name counts as a host's, or as a URI where it has "://".
KINDS = ("DNS", "URI", "EMAIL", "IP")


class CertificateCheck:
    """Looks the names up. `tenants`: a name, with or without its kind, to the tenant that it proves."""

    def __init__(self, tenants: Mapping[str, CertificateTenant]) -> None:
        self._tenants = {
            with_kind(name): Principal(proved.tenant, "certificate", admin=proved.admin)
            for name, proved in tenants.items()
        }

    def __call__(self, presented: Presented) -> Principal | None:
        """None where no name is known. Raises CredentialError where the names belong to several tenants."""
        found = {self._tenants[name] for name in presented.names if name in self._tenants}
        if len(found) > 1:
            raise CredentialError("the certificate names several tenants; issue one for each")
        return next(iter(found), None)


def with_kind(name: str) -> str:
    """The name as `names_in` writes it."""
    kind, colon, rest = name.partition(":")
    if colon and kind in KINDS:
        return f"{kind}:{_folded(kind, rest)}"
    kind = "URI" if "://" in name else "DNS"
    return f"{kind}:{_folded(kind, name)}"


def names_in(certificate: bytes) -> tuple[str, ...]:
    """The subject alternative names of a PEM certificate, each with its kind. Raises CredentialError."""
    from cryptography import x509

    try:
        parsed = x509.load_pem_x509_certificate(certificate)
        found = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    except ValueError:
        raise CredentialError("the certificate cannot be read; issue a new one") from None
    return tuple(text for name in found if (text := _text(name)) is not None)


def _text(name: "GeneralName") -> str | None:
    from cryptography import x509

    kinds = {x509.DNSName: "DNS", x509.UniformResourceIdentifier: "URI", x509.RFC822Name: "EMAIL", x509.IPAddress: "IP"}
    kind = kinds.get(type(name))
    return None if kind is None else f"{kind}:{_folded(kind, str(name.value))}"


def _folded(kind: str, name: str) -> str:
    """Hosts' names do not tell capitals apart; all others do."""
    return name.lower() if kind == "DNS" else name
