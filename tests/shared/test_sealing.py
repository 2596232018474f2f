"""Sealing: what is sealed opens only with its keys, in its place, unaltered."""

from __future__ import annotations

import base64
import uuid

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SettingsError
from shared.sealing import SiteKey, new_site_key

SITE = SiteKey(new_site_key())
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(texts)
def test_opens_what_it_sealed(text: str) -> None:
    """A text comes back through the wrapped key, and is not to be seen in what is stored."""
    document = uuid.uuid4()
    key, wrapped = SITE.new_data_key(uuid.uuid4())
    sealed = key.seal(text, document)
    assert SITE.unwrap(key.id, wrapped).open(sealed, document) == text
    assert len(text) < 4 or text.encode() not in sealed
    assert key.secret not in wrapped


def test_sealing_twice_gives_different_ciphertexts() -> None:
    """A nonce is never used again, so equal texts do not show as equal."""
    document = uuid.uuid4()
    key, _ = SITE.new_data_key(uuid.uuid4())
    assert len({key.seal("the same", document) for _ in range(100)}) == 100


@given(st.data())
def test_any_altered_bit_is_noticed(data: st.DataObject) -> None:
    """A ciphertext with one bit turned does not open."""
    document = uuid.uuid4()
    key, _ = SITE.new_data_key(uuid.uuid4())
    sealed = bytearray(key.seal("warfarin 5 mg", document))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidTag):
        key.open(bytes(sealed), document)


def test_is_bound_to_its_place() -> None:
    """A ciphertext put into another document's row does not open, nor a wrapped key in another key's."""
    document = uuid.uuid4()
    key, wrapped = SITE.new_data_key(uuid.uuid4())
    with pytest.raises(InvalidTag):
        key.open(key.seal("text", document), uuid.uuid4())
    with pytest.raises(SettingsError):
        SITE.unwrap(uuid.uuid4(), wrapped)


def test_another_site_key_opens_nothing() -> None:
    """The error names the setting, and the key's id tells site keys apart."""
    other = SiteKey(new_site_key())
    key, wrapped = SITE.new_data_key(uuid.uuid4())
    with pytest.raises(SettingsError, match="CONSILIUM_SITE_KEY"):
        other.unwrap(key.id, wrapped)
    assert other.id != SITE.id
    assert len(SITE.id) == 16


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "not base64!",
        "ключ",
        base64.b64encode(b"x" * 31).decode(),
        base64.b64encode(b"x" * 33).decode(),
        base64.b64encode(b"x" * 32).decode() + " ",
    ],
)
def test_a_site_key_is_32_bytes_in_base64(bad: str) -> None:
    """Anything else is refused with the remedy, without quoting it."""
    with pytest.raises(SettingsError, match="openssl rand -base64 32") as caught:
        SiteKey(bad)
    assert not bad or bad not in str(caught.value)


@given(st.lists(texts, max_size=3), st.lists(texts, max_size=3))
def test_digests_are_equal_exactly_for_equal_parts(one: list[str], other: list[str]) -> None:
    """Where one part ends and the next begins counts, too."""
    assert (SITE.digest(*one) == SITE.digest(*other)) == (one == other)


def test_digests_tell_nothing_without_the_key() -> None:
    """Another site's digest of the same id is another one."""
    assert SITE.digest("own id", "patient-1") != SiteKey(new_site_key()).digest("own id", "patient-1")
    assert len(SITE.digest()) == 32


def test_secrets_are_in_no_repr() -> None:
    """Neither key shows in a traceback."""
    encoded = new_site_key()
    key, _ = SiteKey(encoded).new_data_key(uuid.uuid4())
    for shown in (repr(SiteKey(encoded)), repr(key)):
        assert encoded not in shown
        assert repr(key.secret) not in shown
