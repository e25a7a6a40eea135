"""Files on which the HDF5 library itself crashes or never returns end in a typed error, and this process goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from genesim.data import hdf5_probe
from genesim.data.expression import read_expression
from genesim.data.hdf5_walk import walk
from genesim.errors import H5adError, ResourceError


@pytest.fixture
def path(tmp_path):
    """A small h5ad whose group obs has its attributes in places that can be found."""
    target = tmp_path / "a.h5ad"
    ad.AnnData(
        np.ones((30, 8), np.float32),
        obs=pd.DataFrame({"donor": ["d"] * 30}, index=[f"c{i}" for i in range(30)]),
    ).write_h5ad(target)
    return target


def spoil(path, find, offset, byte=0xFF):
    """Change one byte, `offset` after the first place of `find`."""
    content = bytearray(path.read_bytes())
    at = content.find(find)
    assert at > 0
    content[at + offset] = byte
    path.write_bytes(content)


def damaged_attribute(path):
    """The kind of a variable-length type, which fuzzing found (signal 11): 1 means a string."""
    spoil(path, b"encoding-type", 17)


@pytest.fixture
def endless(tmp_path):
    """A file whose heap of texts says a wrong size: the library goes round in it for ever."""
    target = tmp_path / "endless.h5ad"
    with h5py.File(target, "w") as file:
        obs = file.create_group("obs")
        file.create_group("var")
        obs.attrs["encoding-type"] = "dataframe"
        obs.attrs["column-order"] = np.array(["a", "bb"], dtype=h5py.string_dtype())
    spoil(target, b"GCOL", 24)
    return target


def test_damaged_attribute_kills_the_library_and_is_refused(path):
    whole = read_expression(path)
    damaged_attribute(path)
    alone = "import sys; from genesim.data.hdf5_walk import walk; walk(sys.argv[1])"
    assert subprocess.run([sys.executable, "-c", alone, str(path)], check=False).returncode == -signal.SIGSEGV
    with pytest.raises(H5adError, match=r"a\.h5ad: is damaged: the HDF5 library crashes on it \(SIGSEGV\) -> copy"):
        read_expression(path)
    damaged = path.with_name("b.h5ad")
    path.rename(damaged)
    whole.write_h5ad(path)
    assert read_expression(path).shape == (30, 8)  # with a new child


def test_damaged_heap_has_no_end_and_is_refused(endless, monkeypatch):
    monkeypatch.setattr(hdf5_probe, "WAIT_S", 2.0)
    begin = time.monotonic()
    with pytest.raises(H5adError, match=r"endless\.h5ad: is damaged: the HDF5 library comes to no end in 2 s"):
        read_expression(endless)
    assert time.monotonic() - begin < 30


def test_killed_child_is_no_damage(endless):  # at work for as long as it takes
    other = endless.with_name("good.h5")
    h5py.File(other, "w").close()
    hdf5_probe.probe(other)
    pid = hdf5_probe._walker.process.pid
    threading.Timer(1.0, os.kill, (pid, signal.SIGKILL)).start()
    with pytest.raises(ResourceError, match="was killed"):
        hdf5_probe.probe(endless)


def test_same_file_is_asked_once_and_a_changed_one_again(path, monkeypatch):
    asked = []
    ask = hdf5_probe._Walker.ask
    monkeypatch.setattr(hdf5_probe._Walker, "ask", lambda self, p, s: asked.append(p) or ask(self, p, s))
    for _ in range(2):
        read_expression(path)
    assert len(asked) == 1
    damaged_attribute(path)
    with pytest.raises(H5adError, match="crashes"):
        read_expression(path)
    assert len(asked) == 2


def test_forked_process_has_a_child_of_its_own(path):
    hdf5_probe.probe(path)
    before = hdf5_probe._walker.process.pid
    other = path.with_name("other.h5")
    h5py.File(other, "w").close()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            hdf5_probe.probe(other)
            os.write(writing, str(hdf5_probe._walker.process.pid).encode())
            hdf5_probe._walker.end()
        finally:
            os._exit(0)
    os.close(writing)
    assert os.waitpid(pid, 0)[1] == 0
    own = int(os.read(reading, 100))
    os.close(reading)
    assert own not in (0, before)
    assert hdf5_probe._walker.usable
    assert hdf5_probe._walker.process.pid == before


def test_walk_follows_no_link_and_ends_on_a_cycle(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # whoever opens it waits for ever
    with h5py.File(tmp_path / "x.h5", "w") as file:
        group = file.create_group("a/b")
        group["up"] = file["a"]
        file["out"] = h5py.ExternalLink(str(pipe), "x")
        file["soft"] = h5py.SoftLink("/a/b/up/b")
        file.create_dataset("raw", (5,), "i8", external=[(str(pipe), 0, 40)])
        file.create_dataset("texts", (70_000,), h5py.string_dtype(), chunks=True, fillvalue="x")
    walk(str(tmp_path / "x.h5"))
