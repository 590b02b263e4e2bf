"""JSON web tokens: signature, issuer, audience, expiry, and the claims that name a tenant.

The algorithms and keys are those that the policy names, never what a token's header asks for: keys come from a JWKS
file alone, headers that carry or point to keys are ignored, and secrets shared with clients (HS256 and its like) are
no proof of who issued a token. The checks are PyJWT's; this file says which (RFC 8725 names the usual mistakes).
"""

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privacy.errors import CredentialError, PolicyError
from privacy.identity.files import read_trusted
from privacy.identity.identifier import Presented
from privacy.policy.types import JwtIssuer
from privacy.types import Principal

if TYPE_CHECKING:
    from jwt import PyJWK

#: Signatures with a private key that only the issuer has.
ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"},
)
#: Well below what gRPC lets through as headers.
MAX_TOKEN_CHARACTERS = 4096
MAX_NAME_CHARACTERS = 256
REQUIRED_CLAIMS = ("iss", "aud", "exp")


class JwtCheck:
    """Verifies bearer tokens of some issuers. Reads a JWKS file again when it changed, so that keys can be rotated.

    Raises PolicyError where an issuer names no or a symmetric algorithm, or its file has no usable key.
    """

    def __init__(self, issuers: tuple[JwtIssuer, ...]) -> None:
        for issuer in issuers:
            _check_algorithms(issuer)
        self._keys = {issuer.issuer: (issuer, KeyFile(issuer.jwks_file)) for issuer in issuers}
        if len(self._keys) != len(issuers):
            raise PolicyError("two JWT entries have the same issuer; write one entry for each issuer")

    def __call__(self, presented: Presented) -> Principal | None:
        """None where there is no token. Raises CredentialError."""
        if not presented.bearers:
            return None
        import jwt

        token = presented.bearers[0]
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise CredentialError(f"the token has more than {MAX_TOKEN_CHARACTERS} characters; ask for a shorter one")
        try:
            return self._principal(token)
        except jwt.PyJWTError as error:
            raise CredentialError(f"the token does not verify ({_why(error)}); ask its issuer for a new one") from None

    def _principal(self, token: str) -> Principal:
        import jwt

        # Read without trust, and only to find the entry whose keys and rules the token must then satisfy.
        unverified = jwt.decode(token, options={"verify_signature": False})
        issuer, keys = self._keys.get(str(unverified.get("iss")), (None, None))
        if issuer is None or keys is None:
            raise jwt.InvalidIssuerError
        claims = jwt.decode(
            token,
            keys.key(jwt.get_unverified_header(token), issuer.algorithms),
            algorithms=list(issuer.algorithms),
            audience=issuer.audience,
            issuer=issuer.issuer,
            leeway=issuer.leeway_seconds,
            options={"require": list(REQUIRED_CLAIMS), "strict_aud": isinstance(unverified.get("aud"), str)},
        )
        return _named(claims, issuer)


class KeyFile:
    """The public keys of one JWKS file, by their `kid`; safe to share between threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] = (0, 0)
        self._keys: dict[str | None, PyJWK] = {}
        try:
            self._refresh()
        except (OSError, ValueError) as error:
            raise PolicyError(f"the JWKS file {path.name} cannot be used: {_reason(error)}") from None

    def key(self, header: dict[str, Any], algorithms: tuple[str, ...]) -> "PyJWK":
        """The key that the header names (the only one where it names none), if it is for one of `algorithms`."""
        try:
            with self._lock:
                self._refresh()
                keys = self._keys
        except (OSError, ValueError):
            raise CredentialError("the keys of the token's issuer cannot be read; tell the server's operator") from None
        kid = header.get("kid")
        key = keys.get(kid) if kid is not None else next(iter(keys.values())) if len(keys) == 1 else None
        if key is None:
            raise CredentialError("the token's key is not among those of its issuer; ask for a new token")
        if key.algorithm_name not in algorithms:
            raise CredentialError("the token's key is for an algorithm that the policy does not allow")
        return key

    def _refresh(self) -> None:
        found = self._path.stat()
        stamp = (found.st_mtime_ns, found.st_size)
        if stamp != self._stamp:
            self._keys = read_keys(read_trusted(self._path))
            self._stamp = stamp


def read_keys(data: bytes) -> "dict[str | None, PyJWK]":
    """The public signing keys of a JWKS document, by `kid`. Raises ValueError where there is none."""
    from jwt import PyJWK
    from jwt.exceptions import PyJWTError

    try:
        entries = [entry for entry in json.loads(data)["keys"] if entry.get("use", "sig") == "sig"]
        keys = {entry.get("kid"): PyJWK(entry) for entry in entries if entry.get("kty") != "oct"}
    except (PyJWTError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("it is no set of keys, or one of them cannot be read") from None
    if not keys or len(keys) != len(entries):
        raise ValueError("the keys are none, secret, or of the same name")
    if any("d" in entry for entry in entries):
        raise ValueError("a key is private; the file must hold public keys alone")
    return keys


def _reason(error: OSError | ValueError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else str(error)


def _named(claims: dict[str, Any], issuer: JwtIssuer) -> Principal:
    tenant = _name(claims, issuer.tenant_claim)
    if tenant is None:
        raise CredentialError(f"the token has no claim {issuer.tenant_claim!r}; ask its issuer for one that has")
    if issuer.tenants is not None and tenant not in issuer.tenants:
        raise CredentialError("the token's issuer may not speak for that tenant; ask the tenant's own issuer")
    subject = _name(claims, issuer.subject_claim)
    admin = issuer.admin_claim is not None and claims.get(issuer.admin_claim) is True
    return Principal(tenant, "jwt", subject, admin)


def _name(claims: dict[str, Any], claim: str) -> str | None:
    value = claims.get(claim)
    if value is None:
        return None
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= MAX_NAME_CHARACTERS:
        raise CredentialError(f"the token's claim {claim!r} is no usable name; ask its issuer for another token")
    return value


def _check_algorithms(issuer: JwtIssuer) -> None:
    wrong = sorted(set(issuer.algorithms) - ALGORITHMS)
    if wrong or not issuer.algorithms:
        raise PolicyError(
            f"the JWT issuer {issuer.issuer} allows {', '.join(wrong) or 'no algorithm'}; "
            f"allow some of {', '.join(sorted(ALGORITHMS))}"
        )


def _why(error: Exception) -> str:
    """The check that failed, without the token's content."""
    import jwt

    reasons: tuple[tuple[type[Exception], str], ...] = (
        (jwt.ExpiredSignatureError, "it has expired"),
        (jwt.ImmatureSignatureError, "it is not valid yet"),
        (jwt.InvalidAudienceError, "it is for another audience"),
        (jwt.InvalidIssuerError, "its issuer is not known here"),
        (jwt.MissingRequiredClaimError, "a claim is missing"),
        (jwt.InvalidAlgorithmError, "its algorithm is not allowed"),
        (jwt.InvalidSignatureError, "its signature is wrong"),
    )
    return next((words for kind, words in reasons if isinstance(error, kind)), "it is malformed")
