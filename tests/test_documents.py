"""What README and docs say can be done, can be done."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from heatpose.cli import app

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)|<img [^>]*src=\"([^\"]+)\"")


def blocks():
    return [block for path in DOCUMENTS for block in BLOCK.findall(path.read_text("utf-8"))]


def command_lines():
    text = "\n".join(blocks()).replace("\\\n", " ")
    return sorted({line for line in text.splitlines() if line.startswith("heatpose ")})


@pytest.mark.parametrize("line", command_lines())
def test_commands_take_the_arguments_that_documents_give_them(line):
    words = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert not hasattr(command, "commands"), "not a whole command"
    command.make_context(line, words)  # raises a usage error for what it does not know


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_inside_the_repository_lead_somewhere(path):
    targets = ["".join(found) for found in LINK.findall(path.read_text("utf-8"))]
    inside = [target for target in targets if "://" not in target]
    assert [target for target in inside if not (path.parent / target).exists()] == []
