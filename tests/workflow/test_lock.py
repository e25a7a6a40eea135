"""`requirements.lock` has what `pyproject.toml` asks for, and nothing of the place where it was made."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
ENTRY = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)(?P<marker> ; [^\\\n]+)?"
    r"(?P<hashes>(?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n",
    re.MULTILINE,
)


def locked(text: str) -> dict[str, str]:
    """Version of every package; each line of the file has to belong to an entry with its hashes."""
    rest = "".join(line for line in ENTRY.sub("", text).splitlines() if not line.startswith("#"))
    assert rest == "", f"no entry with hashes: {rest[:200]}"
    return {canonicalize_name(found["name"]): found["version"] for found in ENTRY.finditer(text)}


def asked() -> dict[str, Requirement]:
    """Requirements of the package, of its workflow and slurm extras, and of its build, by text."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    texts = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    texts += [text for extra in ("workflow", "slurm") for text in extras[extra]]
    found = {text: Requirement(text) for text in texts}
    return {text: requirement for text, requirement in found.items() if requirement.name != "genesim"}


@pytest.mark.parametrize("text", sorted(asked()))
def test_what_is_asked_for_is_locked(text: str) -> None:
    requirement = asked()[text]
    versions = locked((ROOT / "requirements.lock").read_text())
    assert canonicalize_name(requirement.name) in versions, "run `make lock`"
    assert Version(versions[canonicalize_name(requirement.name)]) in requirement.specifier, "run `make lock`"


def test_the_lock_names_no_index_and_no_folder() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"://|@ |--index|--extra-index|--find-links|--trusted-host|/", text)


def test_an_entry_without_hashes_is_seen() -> None:
    with pytest.raises(AssertionError, match="no entry with hashes"):
        locked("numpy==2.4.6\n")


def test_the_container_installs_the_lock_and_nothing_else() -> None:
    recipe = re.sub(r"\\\n\s*", "", (ROOT / "Containerfile").read_text())
    installs = re.findall(r"pip install ([^&\n]*)", recipe)
    assert len(installs) == 2
    assert {"--require-hashes", "-r requirements.lock"} <= set(re.findall(r"-r \S+|--\S+", installs[0]))
    assert {"--no-deps", "--no-build-isolation"} <= set(installs[1].split())
    copied = [word for line in recipe.splitlines() if line.startswith("COPY") for word in line.split()[1:-1]]
    assert "requirements.lock" in copied
