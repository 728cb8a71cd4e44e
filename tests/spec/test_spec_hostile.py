"""Thirty hostile or broken files through the command line: exit 2 at once, with a place, and nothing written."""

import re
import sys
import time
from pathlib import Path

import pytest
from spec_samples import searching, space

from hpo import cli

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
GOOD = space()
INDENTED = LAUGHS.replace("\n", "\n  ")
MANY = ", ".join(f"0.{each:03}" for each in range(1, 1000))
ENDLESS = "{min: 2, max: 9000000000000000000}"
FILES: dict[str, str | bytes] = {
    "billion laughs": LAUGHS + GOOD,
    "billion laughs in the trainer": space(trainer=f"trainer:\n  {INDENTED}model: linear"),
    "an alias to itself": space(ray="winner: &w {top: *w}"),
    "an alias to nothing": space(ray="winner: *nobody"),
    "a merge of aliases": space(ray="one: &one {top: 1}\nwinner: {<<: *one}"),
    "deep lists": "name: " + "[" * 5000,
    "deep maps": "name: " + "{a: " * 5000,
    "deep lines": "\n".join(" " * depth + "a:" for depth in range(2000)),
    "deep and closed": GOOD + "winner: " + "[" * 21 + "]" * 21,
    "larger than 1 MiB": GOOD + "#" * (1 << 20),
    "many values": GOOD + "winner: [" + "1, " * 30_000 + "1]",
    "a long key": GOOD + "k" * 5000 + ": 1",
    "a long number": searching(f"lr: {{min: 1, max: {'9' * 100_000}}}"),
    "a huge exponent": searching("lr: {min: 1, max: 1e999999999}"),
    "twice the same key": GOOD + "name: again",
    "twice the same parameter": searching("lr: [0.1]\nlr: [0.2]"),
    "python/name": space(ray="winner: !!python/name:os.system"),
    "python/object/apply": space(ray='winner: !!python/object/apply:os.system ["touch hacked"]'),
    "python/object/new": space(ray='winner: !!python/object/new:os.system ["touch hacked"]'),
    "python/module": space(ray="winner: !!python/module:antigravity"),
    "a tag of one's own": space(ray="winner: !Winner {top: 1}"),
    "a YAML directive": "%YAML 9.9\n---\n" + GOOD,
    "binary": bytes(range(256)) * 40,
    "no UTF-8": GOOD.encode() + b"\nwinner: \xff\xfe",
    "UTF-16": GOOD.encode("utf-16"),
    "NUL": GOOD + 'ray: "\\0"',
    "terminal escapes": space(name='name: "\\e[31mred\\a"'),
    "bytes that steer a terminal": GOOD + "\x1b]0;title\x07: 1",
    "a path for a name": space(name="name: ../../etc/passwd"),
    "dots for a name": space(name="name: .."),
    "a whole path for a name": space(name="name: /etc/passwd"),
    "a long name": space(name=f"name: {'n' * 65}"),
    "a surrogate": space(name='name: "\\ud800"'),
    "an escape beyond Unicode": space(name='name: "\\U99999999"'),
    "a grid of a billion": searching(
        f"lr: [{MANY}]\ndropout: [{MANY}]\nweight_decay: [{MANY}]", sampler="sampler: grid"
    ),
    "a range that is not enumerable": searching(f"batch_size: {ENDLESS}", sampler="sampler: grid"),
    "import of a file": space(trainer="trainer: {import: '../../evil.py:main'}"),
    "import of a builtin": space(trainer="trainer: {import: 'os:system', command: touch hacked}"),
    "an empty file": "",
    "only a comment": "# nothing",
}


def test_there_are_thirty_of_them() -> None:
    assert len(FILES) >= 30


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_answered_at_once_and_changes_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    content = FILES[name]
    (tmp_path / "x.yaml").write_bytes(
        content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["hpo", "run", "--space", "x.yaml"])
    began = time.process_time()
    with pytest.raises(SystemExit) as left:
        cli.main()
    seconds = time.process_time() - began
    out, err = capfd.readouterr()
    assert left.value.code == 2, err
    assert re.match(r"x\.yaml:\d+:\d+: \S", err), err[:300]
    assert out == ""
    assert all(char.isprintable() or char == "\n" for char in err)
    assert len(err) < 10_000
    assert seconds < 2, "one on a machine that has nothing else to do"
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]
