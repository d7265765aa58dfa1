"""Settings of tokens: an algorithm with the key that it needs, and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from marketbell.errors import SettingsError
from marketbell.settings import Settings, ensure_secrets, load_settings


def pair(key: Any) -> tuple[str, str]:
    """The public and the private half in PEM."""
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return public.decode(), private.decode()


RSA = pair(rsa.generate_private_key(65_537, 2_048))
ED25519 = pair(ed25519.Ed25519PrivateKey.generate())
OTHER = pair(ed25519.Ed25519PrivateKey.generate())
SHORT = pair(rsa.generate_private_key(65_537, 1_024))
CURVE = pair(ec.generate_private_key(ec.SECP256R1()))


def loaded(**flags: str) -> Settings:
    return load_settings({f"jwt_{name}": value for name, value in flags.items()}, {}, None)


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512"])
def test_rsa_takes_an_rsa_key(algorithm: str) -> None:
    settings = loaded(algorithm=algorithm, public_key=RSA[0], private_key=RSA[1])
    assert settings.jwt_asymmetric
    assert settings.jwt_public_key == RSA[0].encode()


def test_a_key_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text(ED25519[0])
    assert loaded(algorithm="EdDSA", public_key=str(file)).jwt_public_key == ED25519[0].encode()
    with pytest.raises(SettingsError, match="cannot be read"):
        loaded(algorithm="EdDSA", public_key=str(tmp_path / "none.pem"))


def test_a_key_means_the_same_by_flag_variable_and_file(tmp_path: Path) -> None:
    toml = tmp_path / "m.toml"
    toml.write_text(f'[jwt]\nalgorithm = "EdDSA"\npublic_key = """{ED25519[0]}"""\n')
    names = {"algorithm": "EdDSA", "public_key": ED25519[0], "private_key": ED25519[1]}
    variables = {f"MARKETBELL_JWT_{name.upper()}": value for name, value in names.items()}
    assert load_settings({}, variables, None) == loaded(**names)
    assert load_settings({}, {}, toml) == loaded(algorithm="EdDSA", public_key=ED25519[0])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"algorithm": "RS256"}, "needs a public key"),
        ({"algorithm": "none"}, "none of"),
        ({"algorithm": "ES256"}, "none of"),
        ({"algorithm": "RS256", "public_key": ED25519[0]}, "needs an RSA key"),
        ({"algorithm": "RS256", "public_key": SHORT[0]}, "1024 bits"),
        ({"algorithm": "EdDSA", "public_key": RSA[0]}, "Ed25519"),
        ({"algorithm": "EdDSA", "public_key": CURVE[0]}, "Ed25519"),
        ({"algorithm": "EdDSA", "public_key": ED25519[1]}, "no public key"),
        ({"algorithm": "EdDSA", "public_key": "-----BEGIN nonsense"}, "no public key"),
        (
            {"algorithm": "EdDSA", "public_key": ED25519[0], "private_key": ED25519[0]},
            "no private key",
        ),
        ({"algorithm": "EdDSA", "public_key": ED25519[0], "private_key": OTHER[1]}, "no pair"),
        ({"public_key": RSA[0]}, "uses jwt_secret alone"),
        ({"private_key": RSA[1]}, "uses jwt_secret alone"),
        ({"algorithm": "HS384", "secret": "x" * 47}, "48 bytes"),
        ({"algorithm": "HS512", "secret": "x" * 63}, "64 bytes"),
    ],
)
def test_a_key_that_does_not_suit_is_refused_and_never_shown(
    flags: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        loaded(**flags)
    assert RSA[1][40:80] not in str(refused.value)
    assert ED25519[1][40:80] not in str(refused.value)


def test_a_private_key_is_not_in_what_settings_look_like() -> None:
    settings = loaded(algorithm="EdDSA", public_key=ED25519[0], private_key=ED25519[1])
    assert "PRIVATE" not in repr(settings)


def test_without_a_secret_of_tokens_no_file_is_made(tmp_path: Path) -> None:
    settings = Settings(
        db=f"sqlite:///{tmp_path}/m.db",
        secrets_key=bytes(32),
        jwt_algorithm="EdDSA",
        jwt_public_key=ED25519[0].encode(),
    )
    assert ensure_secrets(settings) == settings
    assert list(tmp_path.iterdir()) == []
    # A secret that is made suits every algorithm.
    made = ensure_secrets(Settings(db=f"sqlite:///{tmp_path}/m.db", jwt_algorithm="HS512"))
    assert len(made.jwt_secret) >= 64
