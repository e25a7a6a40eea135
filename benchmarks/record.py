"""What stands beside every result: the command, the commit, the versions and the settings that made it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from genesim.provenance.atomic import atomic_file
from genesim.provenance.record import versions

ROOT = Path(__file__).resolve().parent.parent


def commit() -> str:
    """The commit of the working tree, marked where tracked files differ from it."""
    shown = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return shown.stdout.strip() or "no git repository"


def write_record(path: Path, **settings: Any) -> None:
    """Write `settings` with command, commit and versions as JSON."""
    # Absolute paths say where a machine keeps its folders, which helps nobody.
    command = ["python", *("FOLDER" if Path(word).is_absolute() else word for word in sys.argv)]
    record = {"command": command, "commit": commit(), "versions": versions(), **settings}
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1, sort_keys=True, default=str) + "\n")
