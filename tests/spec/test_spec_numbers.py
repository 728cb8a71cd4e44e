"""Scalars are read by the core schema of YAML 1.2, unlike PyYAML's 1.1."""

from __future__ import annotations

import pytest

from hpo.space.reader import read, scalar

PLAIN = {
    "1e-3": 1e-3,
    "1E5": 1e5,
    ".5": 0.5,
    "5.": 5.0,
    "-1.5e+2": -150.0,
    "12": 12,
    "+7": 7,
    "010": 10,
    "0o10": 8,
    "0x1F": 31,
    "1_000": "1_000",
    "1:30": "1:30",
    "0b1": "0b1",
    "no": "no",
    "yes": "yes",
    "on": "on",
    "off": "off",
    "True": True,
    "false": False,
    "~": None,
    "null": None,
    "NULL": None,
    "2024-01-01": "2024-01-01",
    "'1'": "1",
    '"true"': "true",
    "!!str 5": "5",
    "[1e-4, no]": [1e-4, "no"],
    "{a: 1e-4}": {"a": 1e-4},
}


@pytest.mark.parametrize("text", PLAIN)
def test_scalar(text: str) -> None:
    value = scalar(text, source="x")
    assert value == PLAIN[text]
    assert type(value) is type(PLAIN[text])


def test_keys_are_text_in_every_spelling() -> None:
    assert read("{no: 1, on: 2}", source="x").tree == {"no": 1, "on": 2}


def test_positions_of_keys_and_values() -> None:
    document = read("a: 1\nb:\n  - x\n  - {c: 2}\n", source="x.yaml")
    assert document.place(("b", 1, "c"), key=True).label == "x.yaml:4:6"
    assert document.place(("b", 1, "c")).label == "x.yaml:4:9"
    assert document.place(("b", 1, "missing")).label == "x.yaml:4:5"
