"""Signatures agree with the public Standard Webhooks libraries, and nothing else gets through."""

from __future__ import annotations

import base64
import contextlib
import datetime

import pytest
import standardwebhooks
import svix.webhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from marketbell import signing
from marketbell.errors import InvalidError, SignatureError
from marketbell.model import SigningKey

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
AT = 1614265330
BODY = b'{"test": 2432232314}'

SEED = bytes(range(32))
PUBLIC = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
PAIR = "whsk_" + base64.b64encode(SEED + PUBLIC).decode()

HMAC_KEY = signing.parse_secret(SECRET)
PAIR_KEY = signing.parse_secret(PAIR)


def verify(
    keys: list[SigningKey],
    *,
    signature: str,
    message_id: str = ID,
    timestamp: str = str(AT),
    body: bytes = BODY,
    now: int = AT * 1000,
    tolerance_s: int = 300,
) -> None:
    signing.verify(
        [signing.verifying_key(key) for key in keys],
        message_id=message_id,
        timestamp=timestamp,
        signature=signature,
        body=body,
        now=now,
        tolerance_s=tolerance_s,
    )


def test_the_signature_is_the_reference_librarys() -> None:
    reference = standardwebhooks.Webhook(SECRET)
    at = datetime.datetime.fromtimestamp(AT, datetime.UTC)
    assert signing.sign([HMAC_KEY], ID, AT, BODY) == reference.sign(ID, at, BODY.decode())


@given(
    key=st.binary(min_size=24, max_size=75),
    message_id=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1),
    at=st.integers(0, 4_000_000_000),
    body=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_any_body_is_signed_as_the_reference_library_signs_it(
    key: bytes, message_id: str, at: int, body: str
) -> None:
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    theirs = standardwebhooks.Webhook(key).sign(message_id, moment, body)
    ours = signing.sign([SigningKey(kind="v1", secret=key)], message_id, at, body.encode())
    assert ours == theirs


@pytest.mark.parametrize(
    ("prefix", "library"),
    [("webhook", standardwebhooks.Webhook), ("svix", svix.webhooks.Webhook)],
)
def test_both_public_libraries_verify_what_we_sign(
    prefix: str, library: type[standardwebhooks.Webhook | svix.webhooks.Webhook]
) -> None:
    # The libraries compare with the machine's clock, so this one test reads it too.
    at = int(datetime.datetime.now(datetime.UTC).timestamp())
    old = signing.new_secret()
    headers = {
        f"{prefix}-id": ID,
        f"{prefix}-timestamp": str(at),
        f"{prefix}-signature": signing.sign([HMAC_KEY, PAIR_KEY, old], ID, at, BODY),
    }
    library(SECRET).verify(BODY, headers)
    library(signing.render_secret(old)).verify(BODY, headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        library(SECRET).verify(BODY + b" ", headers)


def test_an_ed25519_signature_is_of_id_timestamp_and_body() -> None:
    version, _, text = signing.sign([PAIR_KEY], ID, AT, BODY).partition(",")
    assert version == "v1a"
    public = Ed25519PrivateKey.from_private_bytes(SEED).public_key()
    public.verify(base64.b64decode(text), f"{ID}.{AT}.".encode() + BODY)


def test_each_key_signs_once_in_the_order_given() -> None:
    both = signing.sign([PAIR_KEY, HMAC_KEY], ID, AT, BODY)
    alone = [signing.sign([key], ID, AT, BODY) for key in (PAIR_KEY, HMAC_KEY)]
    assert both.split(" ") == alone
    assert signing.sign([], ID, AT, BODY) == ""


@pytest.mark.parametrize("key", [HMAC_KEY, PAIR_KEY])
def test_what_was_signed_verifies_and_nothing_near_it(key: SigningKey) -> None:
    signature = signing.sign([key], ID, AT, BODY)
    verify([key], signature=signature)
    verify([signing.new_secret(), key], signature=f"v9,zz {signature}")
    wrong = "v1,AAAA v1a,AAAA v1 , v1,é"
    for bad in (wrong, signature[:-4], signature.replace("v1", "v2"), signature + "=", ""):
        with pytest.raises(SignatureError):
            verify([key], signature=bad)
    with pytest.raises(SignatureError):
        verify([key], signature=signature, message_id=ID + "x")
    with pytest.raises(SignatureError):
        verify([key], signature=signature, message_id="")
    with pytest.raises(SignatureError):
        verify([key], signature=signature, timestamp=str(AT + 1))
    with pytest.raises(SignatureError):
        verify([], signature=signature)


def test_a_signature_of_one_kind_is_no_signature_of_the_other() -> None:
    """An HMAC under the public key's bytes must not pass for the pair's signature."""
    forged = signing.sign([SigningKey(kind="v1", secret=PUBLIC)], ID, AT, BODY)
    for version in ("v1", "v1a"):
        with pytest.raises(SignatureError):
            verify([PAIR_KEY], signature=f"{version},{forged.partition(',')[2]}")


def test_only_so_many_signatures_are_looked_at() -> None:
    signature = signing.sign([HMAC_KEY], ID, AT, BODY)
    verify([HMAC_KEY], signature=" ".join(["v1,x"] * 63 + [signature]))
    with pytest.raises(SignatureError):
        verify([HMAC_KEY], signature=" ".join(["v1,x"] * 64 + [signature]))
    with pytest.raises(SignatureError):
        verify([HMAC_KEY], signature=signature + " " * 9000)


@pytest.mark.parametrize(("age_ms", "good"), [(300_000, True), (300_001, False)])
def test_the_tolerance_holds_in_both_directions(age_ms: int, good: bool) -> None:
    signature = signing.sign([HMAC_KEY], ID, AT, BODY)
    for now in (AT * 1000 + age_ms, AT * 1000 - age_ms):
        if good:
            verify([HMAC_KEY], signature=signature, now=now)
        else:
            with pytest.raises(SignatureError):
                verify([HMAC_KEY], signature=signature, now=now)
    verify([HMAC_KEY], signature=signature, now=AT * 1000 + age_ms, tolerance_s=600)


@pytest.mark.parametrize(
    "timestamp", ["", " 1614265330", "+1614265330", "1614265330.0", "16_14", "١٦١٤", "9" * 13, "-1"]
)
def test_a_timestamp_is_digits_and_nothing_else(timestamp: str) -> None:
    with pytest.raises(SignatureError, match="number of seconds"):
        verify([HMAC_KEY], signature="v1,x", timestamp=timestamp)


@given(
    message_id=st.text(),
    timestamp=st.text() | st.just(str(AT)),
    signature=st.text() | st.text("v1a, =AZ+/").map("v1,".__add__) | st.text().map("v1a,".__add__),
    body=st.binary(),
)
def test_garbage_raises_the_one_error(
    message_id: str, timestamp: str, signature: str, body: bytes
) -> None:
    with pytest.raises(SignatureError):
        verify(
            [HMAC_KEY, PAIR_KEY],
            message_id=message_id,
            timestamp=timestamp,
            signature=signature,
            body=body,
        )


@given(body=st.binary(min_size=1), data=st.data())
def test_one_flipped_bit_is_noticed(body: bytes, data: st.DataObject) -> None:
    signature = signing.sign([HMAC_KEY], ID, AT, body)
    verify([HMAC_KEY], signature=signature, body=body)
    place = data.draw(st.integers(0, len(body) * 8 - 1))
    flipped = bytearray(body)
    flipped[place // 8] ^= 1 << (place % 8)
    with pytest.raises(SignatureError):
        verify([HMAC_KEY], signature=signature, body=bytes(flipped))


@given(raw=st.binary(min_size=24, max_size=75))
def test_an_hmac_secret_survives_its_text_with_or_without_padding(raw: bytes) -> None:
    key = SigningKey(kind="v1", secret=raw)
    text = signing.render_secret(key)
    assert signing.parse_secret(text) == key
    assert signing.parse_secret(text.rstrip("=")) == key


def test_an_ed25519_secret_is_shown_as_its_public_half() -> None:
    shown = signing.render_secret(PAIR_KEY)
    assert shown == "whpk_" + base64.b64encode(PUBLIC).decode()
    key = signing.parse_verifying_key(shown)
    assert key == signing.verifying_key(PAIR_KEY) == signing.parse_verifying_key(PAIR)
    assert key.secret == PUBLIC
    assert signing.parse_verifying_key(SECRET).secret == HMAC_KEY.secret


def _base64(size: int) -> str:
    return base64.b64encode(bytes(size)).decode()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "neither `whsec_` nor `whsk_`"),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "neither `whsec_` nor `whsk_`"),
        ("whpk_" + _base64(32), "neither `whsec_` nor `whsk_`"),
        ("whsec_", "is 0 bytes; give base64 of 24 to 75"),
        ("whsec_" + _base64(23), "is 23 bytes"),
        ("whsec_" + _base64(76), "is 76 bytes"),
        ("whsec_" + _base64(2000), "not base64"),
        ("whsec_MfKQ 9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "not base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSé", "not base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaL", "not base64"),
        ("whsk_" + _base64(32), "is 32 bytes; give base64 of the 64"),
        ("whsk_" + _base64(64), "not the public key of the first"),
    ],
)
def test_a_bad_secret_is_refused_with_the_mend_and_never_repeated(text: str, says: str) -> None:
    with pytest.raises(InvalidError, match=says) as caught:
        signing.parse_secret(text)
    assert caught.value.field == ("body", "key")
    assert len(text) < 12 or text[6:] not in str(caught.value)


ANY_BASE64 = st.binary(max_size=90).map(lambda raw: base64.b64encode(raw).decode())


@given(
    text=st.builds(
        str.__add__, st.sampled_from(["", "whsec_", "whsk_", "whpk_"]), st.text() | ANY_BASE64
    )
)
def test_any_text_is_a_key_or_an_invalid_error(text: str) -> None:
    for parse in (signing.parse_secret, signing.parse_verifying_key):
        with contextlib.suppress(InvalidError):
            assert parse(text).secret in base64.b64decode(text.partition("_")[2] + "==")


def test_a_public_key_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidError, match="is 31 bytes"):
        signing.parse_verifying_key("whpk_" + _base64(31))


def test_a_new_secret_is_24_bytes_of_the_given_randomness() -> None:
    key = signing.new_secret(lambda size: bytes(range(size)))
    assert key == SigningKey(kind="v1", secret=bytes(range(24)))
    assert signing.new_secret() != signing.new_secret()
    assert signing.parse_secret(signing.render_secret(key)) == key


def test_no_repr_shows_a_secret() -> None:
    for key in (HMAC_KEY, signing.verifying_key(HMAC_KEY)):
        assert "secret" not in repr(key)
        assert str(HMAC_KEY.secret) not in repr(key)


@given(st.binary(min_size=24, max_size=75), st.binary(max_size=3_000), st.integers(0, 10**11))
def test_a_signer_signs_as_sign_does(secret: bytes, body: bytes, at: int) -> None:
    """With keys longer than a block of the hash too, and again with the same one."""
    key = SigningKey(kind="v1", secret=secret)
    signed = signing.signer(key)
    assert signed(ID, at, b"another") == signing.sign([key], ID, at, b"another")
    assert signed(ID, at, body) == signing.sign([key], ID, at, body)


def test_a_signer_signs_with_a_pair_too() -> None:
    assert signing.signer(PAIR_KEY)(ID, AT, BODY) == signing.sign([PAIR_KEY], ID, AT, BODY)
