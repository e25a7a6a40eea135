"""Coverage-guided fuzzing of every reader: `make fuzz-guided GUIDED_SECONDS=20`.

libFuzzer (atheris 3.0.0) keeps the files that came to new lines of the readers, and so finds what
random spoiling (`run_fuzz.py`) does not come to. A reader has a process of its own, with `run_fuzz.py`'s limit of
memory; a finding is anything but success or a `GenesimError`, is kept once as a file, and the next file is tried.
`atheris.csv` has a row a reader.
"""

from __future__ import annotations

import argparse
import csv
import mmap
import os
import re
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["genesim", "anndata", "zarr", "numcodecs", "yaml"]):
    from fuzz_targets import TARGETS, TOKENS

from run_fuzz import LIMIT_S, MEMORY, PROBE_S, mapped, place

from genesim.data import hdf5_probe
from genesim.errors import GenesimError

COLUMNS = ["reader", "files", "wall_s", "read", "refused", "edges", "findings"]


def child(name: str, seconds: int, seed: int, counts: np.ndarray, told: Path) -> None:
    """Fuzz one reader; ends the process. `counts` (files, read, refused) is shared with the parent."""
    warnings.simplefilter("ignore")
    most = mapped() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    hdf5_probe.WAIT_S = PROBE_S
    target, found = TARGETS[name], set[str]()
    corpus, here = told / "corpus", told / "files"
    corpus.mkdir()
    here.mkdir()
    (corpus / "seed").write_bytes(target.seed)
    words = ["".join(f"\\x{byte:02x}" for byte in token) for token in TOKENS if 0 < len(token) < 64]
    (told / "words").write_text("".join(f'"{word}"\n' for word in words))

    def one(content: bytes) -> None:
        counts[0] += 1
        folder = here / str(counts[0])  # a new one: some readers write beside the file
        folder.mkdir()
        try:
            target(content, folder)
            counts[1] += 1
        except GenesimError:
            counts[2] += 1
        except Exception as error:
            said = place(error)
            if (key := said.split(": ")[0]) not in found:
                found.add(key)
                (told / f"{len(found)}-{name}.bin").write_bytes(content)
                with open(told / "lines", "a") as lines:
                    print(said, file=lines)
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        folder.rmdir()

    limits = [f"-max_total_time={seconds}", f"-timeout={3 * LIMIT_S}", "-rss_limit_mb=0", f"-seed={seed}"]
    length = f"-max_len={max(4096, 2 * len(target.seed))}"
    atheris.Setup(
        [sys.argv[0], *limits, length, f"-dict={told}/words", f"-artifact_prefix={told}/native-", str(corpus)], one
    )
    atheris.Fuzz()


def fuzz(name: str, seconds: int, seed: int, out: Path) -> tuple[dict[str, object], list[str]]:
    """A row of the table and the findings, whose files come to `out`."""
    counts = np.frombuffer(mmap.mmap(-1, 24), np.int64)
    with tempfile.TemporaryDirectory() as folder:
        told, begin = Path(folder), time.monotonic()
        pid = os.fork()
        if pid == 0:
            try:
                log = os.open(told / "log", os.O_WRONLY | os.O_CREAT)
                os.dup2(log, 1)
                os.dup2(log, 2)
                child(name, seconds, seed, counts, told)
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        log = (told / "log").read_text(errors="replace")
        lines = (told / "lines").read_text().splitlines() if (told / "lines").exists() else []
        if status:
            lines.append(f"ended with status {status}: {log[-1500:]}")
        for path in [*told.glob("*.bin"), *told.glob("native-*")]:
            (out / f"{name}-{path.name}").write_bytes(path.read_bytes())
        edges = re.findall(r"cov: (\d+)", log)
    files, read, refused = counts.tolist()
    row: dict[str, object] = {"reader": name, "files": files, "wall_s": round(time.monotonic() - begin)}
    return row | {
        "read": read,
        "refused": refused,
        "edges": int(edges[-1]) if edges else 0,
        "findings": len(lines),
    }, lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="for each reader")
    parser.add_argument("--seed", type=int, default=1, help="not 0, which libFuzzer draws anew")
    parser.add_argument("--readers", nargs="*", default=list(TARGETS))
    parser.add_argument(
        "--out", type=Path, default=Path("fuzz-findings"), help="folder of the findings and atheris.csv"
    )
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    found = 0
    with open(given.out / "atheris.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for name in given.readers:
            row, lines = fuzz(name, given.seconds, given.seed, given.out)
            writer.writerow(row)
            file.flush()
            found += len(lines)
            print(row, *lines, sep="\n  ", flush=True)
    print(f"{len(given.readers)} readers, {given.seconds} s each, {time.strftime('%F %T')}: {found} findings")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
