"""The project speaks the field's language: no document, docstring, comment, message or template has a word of
tests/words.txt."""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROSE = {".md", ".svg", ".j2", ".yaml", ".yml", ".toml", ".css", ".js", ".mjs", ".html", ""}
WORDS = [
    tuple(re.split(r" {2,}", line.strip(), maxsplit=1))
    for line in (ROOT / "tests/words.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
# CHANGELOG.md names what was renamed; requirements.lock and the licence are not ours.
NAMED = {
    ("tasks/export/contract.py", "noise_law"),
    ("tests/flows/server/test_settings.py", "keeper"),
}  # where a sentence says what a word was replaced by
LEFT_OUT = {"CHANGELOG.md", "LICENSE", "requirements.lock", "tests/words.txt", "tests/test_language.py"}


def python_prose(source: str) -> Iterator[tuple[int, str]]:
    """Yields (line, text) of every comment and of every string with a space in it: docstrings, messages, help."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            for offset, text in enumerate(node.value.splitlines()):
                yield node.lineno + offset, text


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yields (line, text) of what a person reads in a file."""
    if path.suffix == ".py":
        yield from python_prose(path.read_text(encoding="utf-8"))
    elif path.suffix in PROSE:
        yield from enumerate(path.read_text(encoding="utf-8").splitlines(), 1)


def flags(pattern: str) -> re.RegexFlag:
    """A pattern in lower case means the word in any case; one with capitals means the identifier."""
    return re.NOFLAG if re.search(r"(?<!\\)[A-Z]", pattern) else re.IGNORECASE


def findings(path: Path, name: str) -> list[str]:
    """Names every word of the list in a file: where, which, and the term that stands for it."""
    return [
        f"{name}:{line}: {found.group()!r}: write {term}"
        for line, text in prose(path)
        for pattern, term in WORDS
        for found in re.finditer(pattern, text, flags(pattern))
        if (name, found.group()) not in NAMED
    ]


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.splitlines() if name not in LEFT_OUT and (ROOT / name).is_file()]


@pytest.mark.parametrize("part", ["", "bench", "docs", "examples", "flows", "models", "presets", "tasks", "tests"])
def test_no_word_of_the_list_is_used(part: str) -> None:
    """Each part of the repository by itself; the first is the files at its top."""
    names = [name for name in tracked() if (name.split("/")[0] if "/" in name else "") == part]
    found = [finding for name in names for finding in findings(ROOT / name, name)]
    assert not found, "\n".join(found)


def test_a_word_is_found_in_a_docstring_a_comment_and_a_message(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text('"""The judge."""\nx = 1  # a yardstick\nraise ValueError("judged as told")\nname = "judge"\n')
    assert [line.split(":")[1] for line in findings(path, "module.py")] == ["2", "1", "3"]
