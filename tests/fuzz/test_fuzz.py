"""Spoiled files: every reader gives a typed error or reads them; nothing else, and not for long.

`make fuzz FUZZ_SECONDS=600` goes on for longer (`run_fuzz.py`).
"""

from __future__ import annotations

import contextlib
import json
import resource
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fuzz_targets import TARGETS, spoiled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genesim.data.annotation import read_genes
from genesim.data.effect_table import read_effect_table
from genesim.errors import ArtefactError, ConfigError, GenesimError, InputError, JoinError

MOVES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2**16), st.integers(0, 2**16)), min_size=1, max_size=4)


def attempt(name: str, content: bytes) -> None:
    """Read it; a typed error is as right as success."""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(GenesimError):
        TARGETS[name](content, Path(folder))


@pytest.mark.parametrize("name", [n for n in TARGETS if n not in ("manifest", "archive", "archive_bytes")])
def test_the_unspoiled_file_is_read(name: str, tmp_path: Path) -> None:
    TARGETS[name](TARGETS[name].seed, tmp_path)


@pytest.mark.parametrize("name", TARGETS)
@settings(
    max_examples=8,
    deadline=timedelta(seconds=60),
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(moves=MOVES)
def test_a_spoiled_file_is_a_typed_error_or_read(name: str, moves: list[tuple[int, int, int]]) -> None:
    attempt(name, spoiled(TARGETS[name].seed, moves))


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("content", [b"", b"\x00", b"\n", b"\xff" * 64, b"\x1f\x8b\x08\x00", b"\x89HDF\r\n\x1a\n"])
def test_a_file_of_something_else_is_a_typed_error_or_read(name: str, content: bytes) -> None:
    attempt(name, content)


@pytest.mark.parametrize("name", ["effects_parquet", "donors_parquet", "genetic_map_parquet", "kinship_parquet"])
def test_a_changed_type_in_a_parquet_is_damage(name: str, tmp_path: Path) -> None:
    """Found by fuzzing: pandas read the type's name from the file, and a TypeError came through."""
    target = TARGETS[name]
    in_base64 = [(b"ZmxvYXQ2", b"ZmxvYHQ2"), (b"mbG9hdDY0", b"mbG9gdDY0"), (b"ImZsb2F0NjQi", b"ImZsb2B0NjQi")]
    changed = target.seed
    for right, wrong in in_base64:  # "float64" as "flo`t64", wherever it begins
        changed = changed.replace(right, wrong)
    assert changed != target.seed
    with pytest.raises(InputError, match=r"cannot be read .*damaged: TypeError"):
        target(changed, tmp_path)


@pytest.mark.parametrize("name", ["effects_gz", "donors_gz", "genetic_map_gz", "kinship_gz", "gtf_gz"])
@pytest.mark.parametrize("at", [10, 15, 30, -5])
def test_a_changed_byte_in_a_gzip_is_damage(name: str, at: int, tmp_path: Path) -> None:
    """zlib has an error of its own, which is no OSError."""
    changed = bytearray(TARGETS[name].seed)
    changed[at] ^= 0xFF
    with pytest.raises(InputError):
        TARGETS[name](bytes(changed), tmp_path)


def test_a_first_record_without_a_contig_is_refused(tmp_path: Path) -> None:
    """The reader took its empty name for the one before the first."""
    seed = TARGETS["vcf_plain"].seed
    at = seed.index(b"\n22\t") + 1
    changed = seed[:at] + seed[at:].removeprefix(b"22")
    with pytest.raises(InputError, match="name that is empty"):
        TARGETS["vcf_plain"](changed, tmp_path)


@pytest.mark.parametrize("digits", [12, 25, 5000])
def test_a_gene_beyond_every_contig_is_refused(digits: int, tmp_path: Path) -> None:
    """Found by fuzzing: a position of many digits overflowed the array of starts."""
    path = tmp_path / "genes.gtf"
    path.write_text(f'22\ttest\tgene\t1\t{"9" * digits}\t.\t+\t.\tgene_id "A";\n')
    with pytest.raises(InputError, match="no 1-based interval") as refused:
        read_genes(path)
    assert "line 1" in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("digits", [12, 25, 5000])
def test_a_variant_name_with_too_many_digits_is_no_site(digits: int, tmp_path: Path) -> None:
    """Found by fuzzing: the position in a variant's name overflowed."""
    path = tmp_path / "effects.tsv"
    path.write_text(f"gene\tvariant\tbeta\tse\nA\t22_17_A_C\t.1\t.1\nA\t22_{'9' * digits}_A_C\t.1\t.1\n")
    with pytest.raises(InputError, match="without position and alleles"):
        read_effect_table(path)


def test_a_damaged_zstd_table_takes_no_memory_that_stays(tmp_path: Path) -> None:
    """Found by atheris: every failed read of pyarrow kept the megabyte that it was to fill."""
    seed = TARGETS["pvar_zst"].seed
    changed = seed[:20] + b"1e999" + seed[20:]

    def mapped() -> int:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

    before = mapped()
    for _ in range(200):
        with pytest.raises(InputError, match="ZSTD decompress failed"):
            TARGETS["pvar_zst"](changed, tmp_path)
    assert mapped() - before < 50 * 2**20


BLOSC = ["cells_zarr_data", "cells_zarr_indptr", "vcf_zarr_calls", "vcf_zarr_alleles"]


@pytest.mark.parametrize("name", BLOSC)
@pytest.mark.parametrize("at", [4, 12], ids=["values", "compressed"])
def test_a_blosc_chunk_that_claims_other_sizes_is_refused(name: str, at: int, tmp_path: Path) -> None:
    """Found by fuzzing: Blosc believes the header, read beyond the chunk and crashed, or made room for gigabytes."""
    changed = bytearray(TARGETS[name].seed)
    changed[at : at + 4] = (2**31 - 7).to_bytes(4, "little")
    with pytest.raises(InputError, match=r"the chunk .* (says|claims|is truncated)"):
        TARGETS[name](bytes(changed), tmp_path)


def test_a_chunk_that_claims_more_texts_is_refused(tmp_path: Path) -> None:
    """Found by fuzzing: room for 20 GiB of texts was made because four bytes said so."""
    import numcodecs

    codec, target = numcodecs.Blosc("zstd"), TARGETS["vcf_zarr_alleles"]
    texts = bytearray(codec.decode(target.seed))
    texts[:4] = (2**31).to_bytes(4, "little")
    with pytest.raises(InputError, match=r"claims 2147483648 texts, not 80"):
        target(codec.encode(bytes(texts)), tmp_path)


@pytest.mark.parametrize("position", ["2;01", "", "9" * 25, "\u00b2"])
def test_a_cds_without_a_position_is_refused(position: str, tmp_path: Path) -> None:
    changed = TARGETS["coding"].seed.replace(b"\t201\t", f"\t{position}\t".encode())
    with pytest.raises(InputError, match=r"line 2.*(is no position|no 1-based interval)"):
        TARGETS["coding"](changed, tmp_path)


@pytest.mark.parametrize("name", ["tf_targets_gz", "allele_factors_gz"])
@pytest.mark.parametrize("at", [10, 15, -5])
def test_a_changed_byte_in_the_gzip_of_a_prior_is_damage(name: str, at: int, tmp_path: Path) -> None:
    changed = bytearray(TARGETS[name].seed)
    changed[at] ^= 0xFF
    with pytest.raises(InputError, match="cannot be read"):
        TARGETS[name](bytes(changed), tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        TARGETS[name](TARGETS[name].seed[:-12], tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("fai", b"22\t12000\t999999999\t60\t61\n"),
        ("fasta", TARGETS["fasta"].seed.replace(b"ACGTT", b"\xff\xfe\xff\xfeT")),
    ],
)
def test_a_fasta_that_does_not_fit_its_index_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    """Found by fuzzing: pysam's errors came through."""
    with pytest.raises(InputError, match=r"g.fa: (bases|contig)"):
        TARGETS[name](content, tmp_path)


@pytest.mark.parametrize("content", [b"perturbation\nA\xf3\n", b"perturbation\n" + b'"' + b"A" * 200_000])
def test_a_sweep_that_is_no_table_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        TARGETS["sweep"](content, tmp_path)


def test_a_model_that_does_not_say_its_kind_is_refused(tmp_path: Path) -> None:
    changed = TARGETS["model_json"].seed.replace(b'"kind"', b'"kond"')
    with pytest.raises(ArtefactError, match=r"has no readable model.json"):
        TARGETS["model_json"](changed, tmp_path)


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9, 0.97])
def test_an_archive_of_genotypes_with_a_changed_record_is_refused(at: float, tmp_path: Path) -> None:
    """Found by fuzzing: a version that zipfile does not know, and an end within a member."""
    seed = TARGETS["vcf_zarr_zip"].seed
    central = seed.index(b"PK\x01\x02")
    changed = seed[: central + 6] + b"\xad\x00" + seed[central + 8 :]
    with pytest.raises(InputError, match=r"cannot be read|is not a VCF Zarr store|lacks"):
        TARGETS["vcf_zarr_zip"](changed, tmp_path)
    with pytest.raises(InputError):
        TARGETS["vcf_zarr_zip"](seed[: int(at * len(seed))], tmp_path)


def test_an_archive_whose_member_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    """Found by fuzzing: as many bytes were asked for as the archive's directory says."""
    changed = bytearray(TARGETS["vcf_zarr_zip"].seed)
    at = changed.index(b"PK\x01\x02")  # the first member's entry: its sizes are 20 and 24 bytes on
    changed[at + 20 : at + 28] = (2**31).to_bytes(4, "little") * 2
    with pytest.raises(InputError, match="claims 2147483648 bytes"):
        TARGETS["vcf_zarr_zip"](bytes(changed), tmp_path)


def _forms(tree: Any) -> Iterator[Any]:
    """The mapping without each of its keys, and with other things under it; likewise within."""
    for key, value in tree.items():
        yield {k: v for k, v in tree.items() if k != key}
        for other in (None, 10**15, "x", []):
            yield tree | {key: other}
        if isinstance(value, dict):
            yield from (tree | {key: inner} for inner in _forms(value))


@pytest.mark.parametrize("name", ["cohort_json", "store_json", "shard_json"])
def test_an_artefact_described_in_another_form_is_an_artefact_error_or_read(name: str, tmp_path: Path) -> None:
    """Its manifest is right: another version of genesim, or somebody else, wrote it."""
    outcomes = set()
    for tree in _forms(json.loads(TARGETS[name].seed)):
        try:
            TARGETS[name](json.dumps(tree).encode(), tmp_path)
            outcomes.add("read")
        except ArtefactError:
            outcomes.add("refused")
        except GenesimError as error:
            assert isinstance(error, JoinError), error  # noqa: PT017
    assert outcomes == {"read", "refused"}


def test_a_store_without_the_calls_of_a_contig_is_refused(tmp_path: Path) -> None:
    """They came back as whatever the memory held."""
    about = json.loads(TARGETS["store_json"].seed)
    about["contigs"] = about["contigs"][:1]
    with pytest.raises(ArtefactError, match=r"no calls of the contigs .*22"):
        TARGETS["store_json"](json.dumps(about).encode(), tmp_path)


@pytest.mark.parametrize("damage", ["header", "claim", "index"])
def test_a_shard_whose_arrays_are_no_counts_is_refused(damage: str, tmp_path: Path) -> None:
    """Found by fuzzing: Python's tokenizer reads the header of a .npy, and has errors of its own."""
    seed = TARGETS["shard_indptr"].seed
    if damage == "header":
        changed = seed.replace(b"{'descr'", b"{('esc'", 1)
    elif damage == "claim":  # 8 TB
        changed = seed.replace(b"(13,), }" + b" " * 11, b"(1999999999999,), }", 1)
    else:
        changed = seed[:-4] + (10**9).to_bytes(4, "little")
    assert changed != seed
    with pytest.raises(ArtefactError, match="no shard of simulated cells"):
        TARGETS["shard_indptr"](changed, tmp_path)
