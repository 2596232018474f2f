"""The quarantine file: what was set aside as it was sent, and nothing that was there is lost for it."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from producers.readers.files import open_inputs, read_inputs
from producers.readers.quarantine import quarantine
from producers.readers.record import Read
from shared.errors import SettingsError
from tests.producers.test_readers import GOOD, read, written


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.ndjson", '{"id": "a"}\n' + json.dumps(GOOD) + "\n{\n"),
        ("a.json", '[{"id": "a"},\n' + json.dumps(GOOD) + ",\n[1]]"),
        ("a.csv", f'id;vignette\n"a";short\nb;{GOOD["vignette"]}\nc;"two\nlines"\n'),
    ],
)
def test_the_quarantine_is_in_the_inputs_own_format(tmp_path: Path, name: str, text: str) -> None:
    """Read again it gives exactly what was set aside; it is for its owner alone."""

    def bad() -> Iterator[Read]:
        with ExitStack() as stack:
            inputs = open_inputs(stack, [str(written(tmp_path, text, name))])
            with quarantine(tmp_path / f"bad-{name}", inputs) as aside:
                assert aside is not None
                for one in read_inputs(inputs):
                    if one.error:
                        aside.add(one)
                        yield one

    first = [(one.text, one.error and one.error.code) for one in bad()]
    assert len(first) == 2
    path = tmp_path / f"bad-{name}"
    assert [(one.text, one.error and one.error.code) for one in read(path)] == first
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("what", ["file", "folder", "link", "pipe"])
def test_the_quarantine_replaces_nothing(tmp_path: Path, what: str) -> None:
    """Neither an input, nor what somebody has mended, nor what is no file; said before anything is read."""
    path = tmp_path / "bad"
    match what:
        case "file":
            path.write_text("mended")
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to(tmp_path / "nowhere")
        case "pipe":
            os.mkfifo(path)
    before = path.lstat()
    with ExitStack() as stack:
        inputs = open_inputs(stack, [str(written(tmp_path, "{", "a.ndjson"))])
        with pytest.raises(SettingsError, match="is there already"):
            stack.enter_context(quarantine(path, inputs))
    assert (path.lstat().st_mode, path.lstat().st_ino) == (before.st_mode, before.st_ino)


def test_a_quarantine_without_room_is_told(tmp_path: Path) -> None:
    """As a sentence, and nothing half written stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "a.ndjson"
    path.write_text("{" * 50_000 + "\n")
    kept = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        with ExitStack() as stack:
            inputs = open_inputs(stack, [str(path)])
            stack.enter_context(pytest.raises(SettingsError, match="bad: cannot be written: File too large"))
            aside = stack.enter_context(quarantine(tmp_path / "bad", inputs))
            assert aside is not None
            for one in read_inputs(inputs):
                aside.add(one)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, kept)
    assert [each.name for each in tmp_path.iterdir()] == ["a.ndjson"]
