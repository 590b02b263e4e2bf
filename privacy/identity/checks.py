"""From a policy's identity section to the checks of it. The one file that knows all kinds of credentials at once."""

from privacy.errors import PolicyError
from privacy.identity.certificates import CertificateCheck
from privacy.identity.identifier import Check, Identifier
from privacy.identity.jwt import JwtCheck
from privacy.identity.keys import ApiKeyCheck, read_holders
from privacy.policy.types import Identity


def identifier_of(identity: Identity) -> Identifier:
    """What verifies the credentials that `identity` allows, and ignores none: a token where no issuer is named fails.

    Raises PolicyError where a file of keys cannot be used or no way to prove anything is named.
    """
    if not (identity.certificates or identity.jwt or identity.api_keys_file):
        raise PolicyError("the policy names no certificate, token issuer or API key; nobody could prove who they are")
    holders = read_holders(identity.api_keys_file) if identity.api_keys_file else {}
    checks: tuple[Check, ...] = (CertificateCheck(identity.certificates), JwtCheck(identity.jwt), ApiKeyCheck(holders))
    return Identifier(checks)
