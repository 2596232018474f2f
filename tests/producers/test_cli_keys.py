"""`consilium sources keys`, `clients` and `limits`: shown once, stored hashed, audited."""

from __future__ import annotations

import json
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from db.engine import transaction
from db.queries import api_keys
from db.queries.api_keys import Caller
from tests.producers import test_cli, test_cli_operators
from tests.producers.test_cli import Shell
from tests.stored import Stored

shell = test_cli.shell
closed_port = test_cli.closed_port
stored = test_cli_operators.stored


def _caller(stored: Stored, token: str) -> Caller | None:
    with transaction(stored.url) as session:
        return api_keys.caller(session, token)


def _made(shell: Shell, *words: str) -> str:
    """The token that a command prints, alone on standard output."""
    said = shell.here("sources", "keys", *words)
    assert said.code == 0, said
    [token] = said.out.split()
    return token


def test_a_key_is_shown_once_and_stored_hashed(shell: Shell, stored: Stored) -> None:
    """It opens with its scopes; neither the list, the table nor the audit holds its secret."""
    token = _made(shell, "add", "local", "--scope", "read", "--scope", "submit", "--lasts", "90d")
    caller = _caller(stored, token)
    assert caller
    assert (caller.source, caller.scopes) == ("local", {"submit", "read"})
    [row] = shell.rows("sources", "keys", "list", "local")
    assert (row["id"], row["scopes"], row["state"]) == (str(caller.key_id), ["submit", "read"], "good")
    assert row["until"] > row["since"]
    kept = stored.ask("SELECT row_to_json(k)::text FROM api_keys k")
    secret = token.split("_", 2)[2]
    assert secret not in json.dumps([row, kept, stored.audited()])
    assert stored.audited() == [("cli", "key.add", f"{caller.key_id} submit read")]


def test_rotated_keys_overlap(shell: Shell, stored: Stored) -> None:
    """The new key works at once, the old one until the overlap is over; without overlap it ends at once."""
    old = _made(shell, "add", "local", "--lasts", "90d", "--scope", "read")
    before = _caller(stored, old)
    assert before
    new = _made(shell, "rotate", str(before.key_id), "--overlap", "7d")
    after = _caller(stored, new)
    assert after
    assert (after.source_id, after.scopes) == (before.source_id, before.scopes)
    assert _caller(stored, old) == before
    lasts = stored.ask(
        "SELECT extract(day FROM expires_at - now())::int FROM api_keys ORDER BY created_at, expires_at"
    )
    assert sorted(lasts) == [(6,), (89,)]
    newest = _made(shell, "rotate", str(after.key_id), "--overlap", "0d")
    assert _caller(stored, new) is None
    assert _caller(stored, newest)
    assert "sources keys list" in shell.fails("sources", "keys", "rotate", str(after.key_id), code=8)
    assert [what for _, what, _ in stored.audited()] == ["key.add", "key.rotate", "key.rotate"]


def test_revoked_and_expired_keys_open_nothing(shell: Shell, stored: Stored) -> None:
    """Nor does anybody revoke twice."""
    token = _made(shell, "add", "local")
    caller = _caller(stored, token)
    assert caller
    assert shell.here("sources", "keys", "revoke", str(caller.key_id)).code == 0
    assert _caller(stored, token) is None
    shell.fails("sources", "keys", "revoke", str(caller.key_id), code=8)
    expired = _made(shell, "add", "local", "--lasts", "1d")
    stored.ask("UPDATE api_keys SET expires_at = now() - interval '1 s' WHERE revoked_at IS NULL")
    assert _caller(stored, expired) is None
    assert [row["state"] for row in shell.rows("sources", "keys", "list")] == ["revoked", "expired"]
    assert [what for _, what, _ in stored.audited()] == ["key.add", "key.revoke", "key.add"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("add", "lokal"), 8, "no source named"),
        (("add", "local", "--scope", "all"), 2, "submit, read, operate"),
        (("add", "local", "--lasts", "soon"), 2, "--lasts"),
        (("add", "local", "--lasts", "0d"), 2, "--lasts"),
        (("add", "local", "--lasts", "999999d"), 2, "36500d"),
        (("add", "local", "--name", "x" * 101), 2, "100 characters"),
    ],
)
def test_a_wrong_word_makes_no_key(
    shell: Shell, stored: Stored, words: tuple[str, ...], code: int, said: str
) -> None:
    assert said in shell.fails("sources", "keys", *words, code=code)
    assert stored.ask("SELECT count(*) FROM api_keys") == [(0,)]


def test_limits_of_a_source(shell: Shell, stored: Stored) -> None:
    """What is named changes and is audited, `none` goes back to the settings, nonsense changes nothing."""
    nothing = {"name": "local", "requests_per_minute": None, "max_records": None, "max_bytes": None}
    assert shell.rows("sources", "limits", "local") == [nothing]
    changed = shell.rows(
        "sources", "limits", "local", "--requests-per-minute", "60", "--max-bytes", "5000000000"
    )
    assert changed == [{**nothing, "requests_per_minute": 60, "max_bytes": 5_000_000_000}]
    lifted = shell.rows("sources", "limits", "local", "--requests-per-minute", "none")
    assert lifted == [{**nothing, "max_bytes": 5_000_000_000}]
    for word in ("0", "-1", "many", "9999999999", "9" * 5000):
        assert "--max-records" in shell.fails("sources", "limits", "local", f"--max-records={word}", code=2)
    [first, second] = [which.partition(" ")[2] for _, _, which in stored.audited()]
    assert first == "requests_per_minute 60; max_bytes 5000000000"
    assert second == "requests_per_minute none"


def test_clients_are_registered_by_public_keys_alone(shell: Shell, stored: Stored, tmp_path: Path) -> None:
    """A private, weak or nameless key is refused; of the rest only what is needed is kept."""
    good = ec.generate_private_key(ec.SECP384R1())
    public = {**jwt.algorithms.ECAlgorithm.to_jwk(good.public_key(), as_dict=True), "kid": "one"}
    weak = jwt.algorithms.RSAAlgorithm.to_jwk(
        rsa.generate_private_key(65537, 1024).public_key(), as_dict=True
    )
    curve = jwt.algorithms.ECAlgorithm.to_jwk(
        ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True
    )
    wrong = {
        "private": {**jwt.algorithms.ECAlgorithm.to_jwk(good, as_dict=True), "kid": "one"},
        "bits": {**weak, "kid": "one"},
        "P-384": {**curve, "kid": "one"},
        "no kid": {key: value for key, value in public.items() if key != "kid"},
        "no RSA key": {"kty": "oct", "kid": "one"},
    }
    file = tmp_path / "keys.json"
    for why, key in wrong.items():
        file.write_text(json.dumps({"keys": [key]}))
        assert why in shell.fails("sources", "clients", "add", "local", "--jwks", str(file), code=2)
    for text in ("", "[]", '{"keys": []}', "[" * 100_000):
        file.write_text(text)
        shell.fails("sources", "clients", "add", "local", "--jwks", str(file), code=2)
    file.write_text(json.dumps({"keys": [{**public, "use": "sig", "x5u": "https://elsewhere"}]}))
    said = shell.here("sources", "clients", "add", "local", "--jwks", str(file), "--scope", "read")
    [row] = shell.rows("sources", "clients", "list")
    assert (row["id"], row["keys"], row["scopes"]) == (said.out.strip(), ["one"], ["read"])
    assert stored.ask("SELECT jwks FROM api_clients") == [({"keys": [public]},)]
    assert shell.here("sources", "clients", "revoke", row["id"]).code == 0
    shell.fails("sources", "clients", "revoke", row["id"], code=8)
    assert [what for _, what, _ in stored.audited()] == ["client.add", "client.revoke"]
