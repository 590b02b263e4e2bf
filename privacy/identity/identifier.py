"""Who asks: from the credentials that a connection and a call present to one `Principal`, or a refusal.

Knows which kinds of credentials there are and that all that are presented must agree; each kind is verified in a file
of its own. Knows no transport: who collects certificates and headers has to see to it that the transport verified
the certificates. What a request's payload says about its sender is never looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from privacy.errors import CredentialError, PrivacyError
from privacy.types import Principal

#: One credential's answer: who it proves, None where it is not presented or names nobody. Raises CredentialError.
Check = Callable[["Presented"], Principal | None]


@dataclass(frozen=True, slots=True)
class Presented:
    """What a caller shows. `names` are the subject alternative names of a certificate that the transport verified.

    `bearers` and `api_keys` hold every header of the kind: more than one of a kind is refused, never chosen from.
    """

    names: tuple[str, ...] = ()
    bearers: tuple[str, ...] = ()
    api_keys: tuple[str, ...] = ()


class Identifier:
    """Asks every check that a policy allows. Without any check nobody is known."""

    def __init__(self, checks: tuple[Check, ...]) -> None:
        self._checks = checks

    def identify(self, presented: Presented) -> Principal:
        """The one principal that all presented credentials prove. Raises CredentialError.

        A certificate that names no tenant proves nobody, and lets a token or key beside it speak. Where two name
        tenants, these must be equal: a token of one tenant over the connection of another is refused.
        """
        _at_most_one("authorization header", presented.bearers)
        _at_most_one("API key", presented.api_keys)
        proved = [principal for check in self._checks if (principal := _asked(check, presented)) is not None]
        if not proved:
            raise CredentialError("the credential is missing or names no tenant; show one that the policy knows")
        if len({principal.tenant for principal in proved}) > 1:
            raise CredentialError("the credentials name different tenants; send those of one tenant")
        return _merged(proved)


def _asked(check: Check, presented: Presented) -> Principal | None:
    """What the check says; a credential that it stumbles over proves nothing."""
    try:
        return check(presented)
    except PrivacyError:
        raise
    except Exception as error:
        raise CredentialError(f"the credential cannot be read ({type(error).__name__}); get a new one") from None


def _merged(proved: list[Principal]) -> Principal:
    """The first principal, with the subject that one of them names; admin only where all of them are."""
    subjects = {principal.subject for principal in proved if principal.subject is not None}
    if len(subjects) > 1:
        raise CredentialError("the credentials name different data subjects; send those of one")
    admin = all(principal.admin for principal in proved)
    return replace(proved[0], subject=next(iter(subjects), None), admin=admin)


def _at_most_one(what: str, given: tuple[str, ...]) -> None:
    if len(given) > 1:
        raise CredentialError(f"the call has more than one {what}; send one")
