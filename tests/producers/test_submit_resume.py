"""A submitting process that is killed, and the same command again: complete, and nothing twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from pathlib import Path

import psycopg

from tests.producers.test_cli import COMMAND, Shell, shell

__all__ = ["shell"]
RECORDS = 1_200


def lines() -> list[str]:
    """The records of the batch, one of them bad."""
    made = [
        json.dumps({"id": f"case-{k}", "vignette": f"A man of seventy has had chest pain: {k}."})
        for k in range(RECORDS)
    ]
    made[700] = "{"
    return [line + "\n" for line in made]


def test_kill_9_in_the_middle_and_the_same_command(shell: Shell) -> None:
    """After the first chunk: killed; then what it had printed completes the batch without a duplicate."""
    pipe = shell.folder / "batch"
    os.mkfifo(pipe)
    process = subprocess.Popen([COMMAND, "submit", "batch"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with pipe.open("w") as sending:
        writer = threading.Thread(target=_write, args=(sending, lines()[:1_100]))
        writer.start()
        said = process.stderr.readline()  # the first chunk is committed, and the pipe is still open
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
        writer.join()
    found = re.fullmatch(r"if this is interrupted, go on with: the same command with (.*)\n", said)
    assert found, said
    again = ("submit", "batch", *found[1].split())
    url = os.environ["CONSILIUM_DATABASE_URL"]
    with psycopg.connect(url) as connection:
        [(state, stored)] = connection.execute("SELECT state, records FROM submissions").fetchall()
        assert (state, stored in (500, 1_000)) == ("receiving", True)
        pipe.unlink()
        shell.file("batch", *lines())
        done = shell.here(*again, "--quarantine", "bad")
        assert done.code == 6, done
        assert f"went on after {stored} that were stored before" in done.out
        counts = connection.execute(
            "SELECT state, records, set_aside, (SELECT count(*) FROM consultations), "
            "(SELECT count(DISTINCT ordinal) FROM records) FROM submissions"
        ).fetchall()
        assert counts == [("open", RECORDS, 1, RECORDS - 1, RECORDS)]
    assert Path("bad").read_text() == "{\n"
    shell.file("batch", *lines()[:600], "{}\n", *lines()[601:])
    assert "differs at line 501" in shell.fails(*again, code=4)


def _write(sending: object, text: list[str]) -> None:
    """As much as the reader takes; it is killed while this goes on."""
    try:
        for line in text:
            print(line, end="", file=sending, flush=True)  # type: ignore[call-overload]
    except BrokenPipeError:
        return


def test_no_room_for_the_quarantine_when_all_is_stored(shell: Shell) -> None:
    """Told as what it is: the batch is in, and what was set aside can be written yet."""
    shell.file("batch", *lines()[:3], "{\n")
    limited = f"ulimit -f 0; exec {COMMAND} submit batch --quarantine bad"  # small enough to fail at its end
    done = subprocess.run(["sh", "-c", limited], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done
    assert "bad: cannot be written: File too large" in done.stderr
    found = re.search(r"all 4 records are stored; .*: the same command with (.*)\n", done.stderr)
    assert found, done.stderr
    again = found[1].replace("and --quarantine FILE", "--quarantine bad").split()
    assert "accepted before under this key" in shell.here("submit", "batch", *again).out
    assert Path("bad").read_text() == "{\n"
