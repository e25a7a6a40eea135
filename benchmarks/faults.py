"""SIGKILL at random moments over the whole workflow: `python benchmarks/faults.py --kills 100`.

One unbroken run of a tiny example is the reference. Another folder's run is then killed, with all of its jobs, again
and again at a random moment, each time looked at, and run on until it ends; then a new folder's. Writes `faults.csv`
(one row a kill, with the step that was killed) and `faults.json`: partial outputs at a final path must be none, and
every run that ends must equal the reference byte for byte.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import yaml
from record import ROOT, write_record

from genesim.errors import ArtefactError
from genesim.provenance.manifest import verify_manifest

COLUMNS = ["kill", "pipeline", "after_s", "step", "artefacts_whole", "partial", "orphans", "locks"]


def command(folder: Path, *arguments: str) -> list[str]:
    fixed = ["--profile", "profiles/default", "--cores", "1"]
    files = ["--directory", str(folder), "--configfile", str(folder / "run.yaml")]
    return [sys.executable, "-m", "snakemake", *arguments, *fixed, *files]


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """The workflow in a process group of its own; what it says goes into `log.txt`."""
    # As in the tests: what runs once need not be optimised by the compiler.
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "XLA_FLAGS": flags}
    # Compiled programs are kept from run to run: kills are to fall on work, not on the compiler.
    kept = {"JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled")}
    environment |= {**kept, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    with open(folder / "log.txt", "ab") as log:
        words = command(folder, *arguments)
        return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)


def fresh(folder: Path, config: dict) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "run.yaml").write_text(yaml.safe_dump({"pathvars": {"results": "results"}, **config}))
    return folder


def artefacts(results: Path) -> list[Path]:
    """Folders with a manifest, at their final paths."""
    found = (path.parent for path in results.rglob("manifest.sha256"))
    return sorted(path for path in found if not any(part.startswith(".tmp-") for part in path.parts))


def processes(folder: Path) -> list[list[str]]:
    """Words of every process that works in `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.joinpath("cwd").readlink() == folder:
                found.append(process.joinpath("cmdline").read_bytes().decode().split("\0")[:-1])
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # ended meanwhile, or another's
            continue
    return [words for words in found if words]  # the words of a zombie are none


def step(folder: Path) -> str:
    """The verb at work, as `train haplotypes`; `snakemake` between two of them."""
    for words in processes(folder):
        named = [i for i, word in enumerate(words[:3]) if Path(word).name == "genesim"]
        if named:
            verb = words[named[0] + 1 :]
            return " ".join(verb[: next((i for i, word in enumerate(verb) if word.startswith("-")), None)])
    return "snakemake"


def kill(process: subprocess.Popen[bytes], folder: Path) -> None:
    """End Snakemake and its jobs at once; afterwards nothing may work in `folder`."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until = time.monotonic() + 10
    while left := processes(folder):
        assert time.monotonic() < until, f"outlived the kill: {left}"
        time.sleep(0.02)


def inputs(results: Path) -> dict[str, bytes]:
    """Files of the example at their final paths, which have no manifest."""
    found = (path for path in results.glob("example/*") if path.is_file() and not path.name.startswith("."))
    return {path.name: path.read_bytes() for path in found}


def partial(results: Path, whole: dict[str, bytes]) -> list[str]:
    """Artefacts whose files are not those of their manifest, inputs that are not `whole`, a report that has no end."""
    bad = [name for name, text in inputs(results).items() if text != whole[name]]
    for folder in artefacts(results):
        try:
            verify_manifest(folder)
        except ArtefactError as error:
            bad.append(str(error))
    report = results / "report.html"
    if report.exists() and not report.read_text(encoding="utf-8").rstrip().endswith("</html>"):
        bad.append("report.html has no end")
    return bad


def digests(results: Path) -> dict[str, bytes]:
    """What must be equal: every manifest (which holds the digest of every file), and the report."""
    found = {str(path.relative_to(results)): (path / "manifest.sha256").read_bytes() for path in artefacts(results)}
    # Checkpoints come and go with training.
    kept = {name: text for name, text in found.items() if not name.startswith("checkpoints")}
    report = results / "report.html"
    return {**kept, "report.html": report.read_bytes()} if report.exists() else kept


def count(results: Path, pattern: str) -> int:
    return sum(1 for _ in results.rglob(pattern))


def read_rows(path: Path) -> list[dict[str, object]]:
    """Kills of a run that goes on; none where there was none."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "tiny.yaml")
    parser.add_argument("--target", nargs="*", default=[], help="as results/cohort/manifest.sha256; none runs all")
    parser.add_argument("--mean", type=float, default=25, help="seconds from a start to the kill (exponential)")
    parser.add_argument("--folder", type=Path, help="where both runs are and stay; kills of --out go on from there")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-seconds", type=float, default=7200, help="no more kills after this time")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "faults.csv")
    given = parser.parse_args()
    config = yaml.safe_load(given.config.read_text())
    rows = read_rows(given.out) if given.folder is not None else []
    random = np.random.default_rng([given.seed, len(rows)])
    n_ended, n_stuck = (int(rows[-1]["pipeline"]) - 1 if rows else 0), 0
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        base = given.folder or Path(name)
        whole, run = base / "whole", base / "run"
        if not (whole / "results" / "report.html").exists():
            fresh(whole, config)
            assert start(whole, *given.target).wait() == 0, (whole / "log.txt").read_text()[-3000:]
        reference, example = digests(whole / "results"), inputs(whole / "results")
        assert reference
        if not rows:
            fresh(run, config)
        results = run / "results"

        def end_run(process: subprocess.Popen[bytes]) -> None:
            assert process.wait() == 0, (run / "log.txt").read_text()[-3000:]
            if digests(results) != reference:
                raise SystemExit(f"a run that was killed and ended differs from the unbroken one: {run}")

        while len(rows) < given.kills and time.monotonic() - begin < given.max_seconds:
            # Where six kills in a row have let no step end, the next moments are drawn twice as late, and so on.
            mean = given.mean * 2 ** (n_stuck // 6)
            process, after = start(run, *given.target), float(random.exponential(mean))
            try:
                process.wait(after)
            except subprocess.TimeoutExpired:
                at_work = step(run)
                kill(process, run)
            else:
                end_run(process)
                n_ended, n_stuck = n_ended + 1, 0
                fresh(run, config)
                continue
            bad, n_whole = partial(results, example), len(artefacts(results))
            n_stuck = n_stuck + 1 if rows and n_whole <= int(rows[-1]["artefacts_whole"]) else 0
            numbers = (n_whole, len(bad), count(results, ".tmp-*"), count(results, ".lock-*"))
            values = (len(rows) + 1, n_ended + 1, round(after, 2), at_work, *numbers)
            rows.append(dict(zip(COLUMNS, values, strict=True)))
            write_rows(given.out, rows)
            print(rows[-1], *bad, flush=True)
            for lock in (run / ".snakemake" / "locks").glob("*"):
                lock.unlink()  # which is what `snakemake --unlock` does: its own lock outlives a kill
        end_run(start(run, *given.target))
        n_ended += 1
        left = count(results, ".tmp-*") + count(results, ".lock-*")
    write_record(
        given.out.with_suffix(".json"),
        config=given.config.name,
        target=given.target or ["all"],
        kills=len(rows),
        partial=sum(int(row["partial"]) for row in rows),
        kills_by_step=dict(sorted(Counter(row["step"] for row in rows).items())),
        runs_ended_equal_to_the_unbroken_one=n_ended,
        orphans_and_locks_left_at_the_end=left,
        mean_s=given.mean,
        seconds=round(time.monotonic() - begin, 1),
    )
    if left or any(int(row["partial"]) for row in rows):
        raise SystemExit("not as it must be: see the record")


if __name__ == "__main__":
    main()
