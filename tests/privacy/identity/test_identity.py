"""Credentials one by one: what each kind proves, and what its files must be."""

import hmac
import json
import os
from base64 import urlsafe_b64encode as b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from privacy.errors import CredentialError, PolicyError
from privacy.identity.certificates import CertificateCheck, names_in, with_kind
from privacy.identity.checks import identifier_of
from privacy.identity.identifier import Identifier, Presented
from privacy.identity.jwt import JwtCheck
from privacy.identity.keys import ApiKeyCheck, hash_of, make_key, read_holders
from privacy.policy.types import CertificateTenant, Identity, JwtIssuer
from privacy.types import Principal

EC_KEY, OTHER_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
CLAIMS = {"iss": "https://id", "aud": "hetero", "exp": 4e9, "sub": "patient", "tenant": "ward"}


def jwk(key: Any, kid: str = "k1", private: bool = False, **more: Any) -> dict[str, Any]:
    algorithm = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)
    return json.loads(algorithm.to_jwk(key if private else key.public_key())) | {"kid": kid} | more


@pytest.fixture
def issuer(tmp_path: Path) -> Callable[..., JwtIssuer]:
    def made(*keys: dict[str, Any], **changes: Any) -> JwtIssuer:
        file = tmp_path / "jwks.json"
        file.write_text(json.dumps({"keys": keys or [jwk(EC_KEY)]}))
        return JwtIssuer(
            **({"issuer": "https://id", "audience": "hetero", "algorithms": ("ES256",), "jwks_file": file} | changes)
        )

    return made


def token(key: Any = EC_KEY, algorithm: str = "ES256", kid: str | None = "k1", **changes: Any) -> str:
    return jwt.encode(CLAIMS | changes, key, algorithm, headers={"kid": kid} if kid else None)


def shown(text: str) -> Presented:
    return Presented(bearers=(text,))


def test_token_names_tenant_and_subject(issuer: Callable[..., JwtIssuer]) -> None:
    assert JwtCheck((issuer(),))(shown(token())) == Principal("ward", "jwt", "patient")


def test_key_without_its_name_counts_only_where_there_is_one(issuer: Callable[..., JwtIssuer]) -> None:
    assert JwtCheck((issuer(),))(shown(token(kid=None)))
    with pytest.raises(CredentialError, match="key is not among"):
        JwtCheck((issuer(jwk(EC_KEY), jwk(OTHER_KEY, "k2")),))(shown(token(kid=None)))


def test_issuer_vouches_only_for_its_tenants(issuer: Callable[..., JwtIssuer]) -> None:
    check = JwtCheck((issuer(tenants=frozenset({"press"})),))
    with pytest.raises(CredentialError, match="may not speak"):
        check(shown(token()))


def test_public_key_cannot_pass_for_a_shared_secret(issuer: Callable[..., JwtIssuer]) -> None:
    check = JwtCheck((issuer(),))
    pem = EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = b64encode(json.dumps({"alg": "HS256", "kid": "k1"}).encode()).rstrip(b"=")
    signed = head + b"." + b64encode(json.dumps(CLAIMS).encode()).rstrip(b"=")
    forged = signed + b"." + b64encode(hmac.digest(pem, signed, "sha256")).rstrip(b"=")
    with pytest.raises(CredentialError, match="algorithm is not allowed"):
        check(shown(forged.decode()))


def test_header_cannot_bring_its_own_key(issuer: Callable[..., JwtIssuer]) -> None:
    forged = jwt.encode(CLAIMS, OTHER_KEY, "ES256", headers={"kid": "k1", "jwk": jwk(OTHER_KEY)})
    with pytest.raises(CredentialError, match="signature"):
        JwtCheck((issuer(),))(shown(forged))


def test_key_of_another_algorithm_is_not_used(issuer: Callable[..., JwtIssuer]) -> None:
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    rsa_jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key.public_key())) | {"kid": "k1"}
    with pytest.raises(CredentialError, match="algorithm that the policy"):
        JwtCheck((issuer(rsa_jwk),))(shown(token(rsa_key, "RS256")))


def test_rotated_keys_are_read_again(issuer: Callable[..., JwtIssuer]) -> None:
    made = issuer()
    check = JwtCheck((made,))
    assert check(shown(token()))
    made.jwks_file.write_text(json.dumps({"keys": [jwk(OTHER_KEY)]}))
    os.utime(made.jwks_file, (1, 1))
    assert check(shown(token(OTHER_KEY)))
    with pytest.raises(CredentialError, match="signature"):
        check(shown(token()))
    made.jwks_file.write_text("{")
    with pytest.raises(CredentialError, match="operator"):
        check(shown(token(OTHER_KEY)))


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [{"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}],
        [jwk(EC_KEY, private=True)],
        [jwk(EC_KEY), jwk(OTHER_KEY)],
        [{"kty": "EC"}],
        ["text"],
    ],
    ids=["none", "secret", "private", "twice", "no key", "text"],
)
def test_jwks_file_that_is_not_of_public_keys_is_refused(keys: list[Any], issuer: Callable[..., JwtIssuer]) -> None:
    made = issuer()
    made.jwks_file.write_text(json.dumps({"keys": keys}))
    with pytest.raises(PolicyError, match=r"jwks\.json"):
        JwtCheck((made,))


@pytest.mark.parametrize("algorithms", [(), ("HS256",), ("none",), ("ES256", "HS512")])
def test_algorithms_are_signatures_alone(algorithms: tuple[str, ...], issuer: Callable[..., JwtIssuer]) -> None:
    with pytest.raises(PolicyError, match="allow some of"):
        JwtCheck((issuer(algorithms=algorithms),))


def test_api_key_is_known_by_its_hash(tmp_path: Path) -> None:
    key, other, file = make_key(), make_key(), tmp_path / "keys"
    file.write_text(f"# keys\n\n{hash_of(key)} ward patient-9\n{hash_of(other)} press\n")
    check = ApiKeyCheck(read_holders(file))
    assert check(Presented(api_keys=(key,))) == Principal("ward", "api-key", "patient-9")
    assert check(Presented(api_keys=(other,))) == Principal("press", "api-key")
    assert check(Presented()) is None
    for wrong in (key[:-1], key.upper(), hash_of(key), ""):
        with pytest.raises(CredentialError, match="not known"):
            check(Presented(api_keys=(wrong,)))
    assert key not in file.read_text() and len(key) > 40


@pytest.mark.parametrize("line", ["ward", "xyz ward", f"{'a' * 64}", f"{'a' * 64} ward sub extra", f"{'A' * 64} ward"])
def test_file_of_keys_with_a_wrong_line_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{'b' * 64} press\n{line}\n")
    with pytest.raises(PolicyError, match="line 2"):
        read_holders(tmp_path / "keys")


def test_file_of_keys_must_be_there_and_name_each_once(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        read_holders(tmp_path / "absent")
    (tmp_path / "open").write_text(f"{'b' * 64} press\n")
    (tmp_path / "open").chmod(0o666)
    with pytest.raises(PolicyError, match="anyone may write"):
        read_holders(tmp_path / "open")
    (tmp_path / "keys").write_text(f"{'b' * 64} press\n{'b' * 64} ward\n")
    with pytest.raises(PolicyError, match="twice"):
        read_holders(tmp_path / "keys")


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("Ward.Example", "DNS:ward.example"),
        ("spiffe://a/B", "URI:spiffe://a/B"),
        ("URI:x", "URI:x"),
        ("DNS:A", "DNS:a"),
    ],
)
def test_name_has_a_kind(written: str, known: str) -> None:
    assert with_kind(written) == known


def test_certificates_names_are_compared_whole_and_by_kind() -> None:
    check = CertificateCheck({"ward.example": CertificateTenant("ward"), "URI:press": CertificateTenant("press", True)})
    assert check(Presented(("DNS:ward.example", "DNS:other"))) == Principal("ward", "certificate")
    assert check(Presented(("URI:press",))) == Principal("press", "certificate", admin=True)
    for stranger in ("URI:ward.example", "DNS:press", "EMAIL:ward.example", "DNS:ward.example."):
        assert check(Presented((stranger,))) is None
    with pytest.raises(CredentialError, match="several tenants"):
        check(Presented(("DNS:ward.example", "URI:press")))


def test_unreadable_certificate_is_refused() -> None:
    with pytest.raises(CredentialError, match="cannot be read"):
        names_in(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def test_all_credentials_must_agree_and_all_must_be_admins() -> None:
    ward, press = Principal("ward", "certificate", admin=True), Principal("press", "jwt")

    def identified(*proved: Principal | None) -> Principal:
        return Identifier(tuple(lambda presented, each=each: each for each in proved)).identify(Presented())

    assert identified(None, ward) == ward
    assert identified(ward, Principal("ward", "jwt", "patient")) == Principal("ward", "certificate", "patient")
    for wrong in ((None, None), (ward, press), (Principal("a", "jwt", "x"), Principal("a", "api-key", "y"))):
        with pytest.raises(CredentialError):
            identified(*wrong)


def test_check_that_stumbles_proves_nobody() -> None:
    def stumbling(presented: Presented) -> Principal:
        raise KeyError("a secret")

    with pytest.raises(CredentialError) as caught:
        Identifier((stumbling,)).identify(Presented())
    assert "a secret" not in str(caught.value)


def test_identity_without_any_way_to_prove_is_refused() -> None:
    with pytest.raises(PolicyError, match="nobody could prove"):
        identifier_of(Identity())
