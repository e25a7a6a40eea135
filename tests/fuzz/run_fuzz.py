"""Fuzz every reader for some time: `python tests/fuzz/run_fuzz.py --seconds 600 --out tests/fuzz/findings`.

Files are spoiled at random and read in child processes of limited memory and time, so that a crash of a native library
counts too. A finding is anything but success or a `GenesimError`: another exception, a signal, more than 20 s of CPU
time, 300 s without an end, more than 1 GiB beside what the program itself takes. Each is kept once (by reader, kind and
place) as a file; `fuzz.csv` has a row a reader.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
from fuzz_targets import TARGETS, spoiled

from genesim.data import hdf5_probe
from genesim.errors import GenesimError

COLUMNS = ["reader", "files", "cpu_s", "read", "refused", "findings"]
MEMORY, LIMIT_S, WAIT_S, BATCH = 2**30, 20, 300, 100
PROBE_S = 3.0
"""Seconds after which a file is refused that the HDF5 library finds no end of; users wait longer."""
_SLOW = {signal.SIGPROF: f"longer than {LIMIT_S} s of CPU time", signal.SIGALRM: f"no end in {WAIT_S} s"}


def place(error: BaseException) -> str:
    """Class of the error and the last line of genesim's own that it passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/genesim/" in f.filename] or list(frames)
    return f"{type(error).__name__} {Path(ours[-1].filename).name}:{ours[-1].lineno}: {str(error)[:150]!r}"


def mapped() -> int:
    """Bytes of this process's address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def child(name: str, seed: int, told: Path) -> None:
    """Read a batch of spoiled files; each is kept while it is read, and every outcome is a line."""
    warnings.simplefilter("ignore")
    most = mapped() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for slow in _SLOW:
        signal.signal(slow, signal.SIG_DFL)
    hdf5_probe.WAIT_S = PROBE_S
    random, target = np.random.default_rng(seed), TARGETS[name]
    with open(told / "lines", "a") as lines, tempfile.TemporaryDirectory() as folder:
        for i in range(BATCH):
            n = int(random.integers(1, 6))
            moves = [(int(random.integers(6)), *map(int, random.integers(0, 2**16, 2))) for _ in range(n)]
            content = spoiled(target.seed, moves)
            (told / "last").write_bytes(content)
            here = Path(folder) / str(i)
            here.mkdir()
            # CPU time: on a busy machine 20 s of the clock are few.
            signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
            signal.alarm(WAIT_S)
            try:
                target(content, here)
                said = "read"
            except GenesimError:
                said = "refused"
            except BaseException as error:
                said = place(error)
                (told / f"{abs(hash(said.split(':')[1])) % 10**8}-{name}.bin").write_bytes(content)
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
            print(said, file=lines, flush=True)


def batch(name: str, seed: int) -> tuple[list[str], float, dict[str, bytes]]:
    """Outcomes, CPU seconds and files of the findings of one child."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                sink = os.open(os.devnull, os.O_WRONLY)
                os.dup2(sink, 1)
                os.dup2(sink, 2)
                child(name, seed, told)
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        lines = (told / "lines").read_text().splitlines() if (told / "lines").exists() else []
        files = {p.name: p.read_bytes() for p in told.glob("*.bin")}
        if os.WIFSIGNALED(status):
            what = os.WTERMSIG(status)
            lines.append(_SLOW.get(signal.Signals(what), f"signal {what}"))
            files[f"signal{what}-{name}.bin"] = (told / "last").read_bytes()
        return lines, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="CPU seconds in all")
    parser.add_argument("--wall-seconds", type=float, default=np.inf, help="no new batch after this time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", nargs="*", default=list(TARGETS))
    parser.add_argument("--out", type=Path, default=Path("fuzz-findings"), help="folder of the findings and fuzz.csv")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = {name: dict.fromkeys(COLUMNS, 0) | {"reader": name} for name in given.readers}
    spent, number, found = dict.fromkeys(given.readers, 0.0), 0, {}
    begin = time.monotonic()
    while sum(spent.values()) < given.seconds and time.monotonic() - begin < given.wall_seconds:
        name = min(spent, key=lambda n: spent[n])
        lines, cpu, files = batch(name, given.seed * 10**6 + number)
        number += 1
        spent[name] += cpu
        for line in lines:
            rows[name]["files"] += 1
            rows[name]["read"] += line == "read"
            rows[name]["refused"] += line == "refused"
            key = (name, ":".join(line.split(":")[:2]))
            if line not in ("read", "refused") and key not in found:
                found[key] = line
                rows[name]["findings"] += 1
                print(f"{name}: {line}", flush=True)
        for file, content in files.items():
            (given.out / file).write_bytes(content)
    with open(given.out / "fuzz.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | {"cpu_s": round(spent[name], 1)} for name, row in rows.items())
    print(f"{sum(spent.values()):.0f} CPU seconds, {time.strftime('%F %T')}: {len(found)} findings")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
