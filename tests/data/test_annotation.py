from __future__ import annotations

import gzip
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesim.data.annotation import UNPLACED, locate_genes, match_counts, read_genes, strip_version
from genesim.data.coordinates import to_one_based
from genesim.errors import InputError, JoinError

GTF = """#!genome-build GRCh37
chr22\tHAVANA\tgene\t101\t200\t.\t+\t.\tgene_id "ENSG00000000001.4"; gene_type "x; y"; gene_name "AAA";
chr22\tHAVANA\ttranscript\t101\t150\t.\t+\t.\tgene_id "ENSG00000000001.4"; transcript_id "T1";
chr22\tHAVANA\tgene\t301\t400\t.\t-\t.\tgene_id "ENSG00000000002.1"; gene_name "BBB";
chr21\tHAVANA\tgene\t1\t1\t.\t+\t.\tgene_id "ENSG00000000003.1"; gene_name "BBB"; level 2;
"""
GFF3 = """##gff-version 3
22\tensembl\tgene\t101\t200\t.\t+\t.\tID=gene:ENSG00000000001;Name=A%3BA;biotype=x
22\tensembl\tmRNA\t101\t150\t.\t+\t.\tID=transcript:T1;Parent=gene:ENSG00000000001
22\tensembl\tncRNA_gene\t301\t400\t.\t-\t.\tID=gene:ENSG00000000002
NC_01\tRefSeq\tpseudogene\t5\t9\t.\t?\t.\tID=gene-LOC1;Name=LOC1;gene=LOC1
##FASTA
>22
ACGT
"""


def write(tmp_path, text, name="a.gtf"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_gtf_is_zero_based_half_open_and_tss_follows_the_strand(tmp_path):
    genes = read_genes(write(tmp_path, GTF))
    assert genes.index.name == "gene_id"
    assert genes.loc["ENSG00000000001.4"].to_dict() == {
        "gene_id_unversioned": "ENSG00000000001",
        "gene_name": "AAA",
        "contig": "chr22",
        "start": 100,
        "end": 200,
        "strand": "+",
        "tss": 100,
    }
    reverse = genes.loc["ENSG00000000002.1"]
    assert (reverse.start, reverse.end, reverse.tss) == (300, 400, 399)  # 1-based 400 is the first base read
    assert genes.loc["ENSG00000000003.1", "end"] - genes.loc["ENSG00000000003.1", "start"] == 1


def test_gff3(tmp_path):
    genes = read_genes(write(tmp_path, GFF3, "a.gff3"))
    assert list(genes.index) == ["ENSG00000000001", "ENSG00000000002", "LOC1"]
    assert list(genes.gene_name) == ["A;A", "ENSG00000000002", "LOC1"]
    assert list(genes.strand) == ["+", "-", "."]
    assert list(genes.tss) == [100, 399, 4]


def test_gzip_is_told_by_content(tmp_path):
    path = tmp_path / "no_suffix"
    path.write_bytes(gzip.compress(GTF.encode()))
    pd.testing.assert_frame_equal(read_genes(path), read_genes(write(tmp_path, GTF)))
    path.write_bytes(gzip.compress(GTF.encode() * 50)[:-30])
    with pytest.raises(InputError, match="cannot be read"):
        read_genes(path)


def test_genes_span_their_parts_where_there_are_no_gene_lines(tmp_path):
    parts = "\n".join(
        f'1\tx\t{kind}\t{first}\t{last}\t.\t-\t.\tgene_id "G1"; transcript_id "T{first}"'
        for kind, first, last in [("exon", 50, 60), ("transcript", 20, 60), ("exon", 90, 99)]
    )
    genes = read_genes(write(tmp_path, parts))
    assert genes.loc["G1", ["start", "end", "tss"]].tolist() == [19, 99, 98]


def test_repeated_gene_id_keeps_its_first_position(tmp_path, caplog):
    again = GTF + GTF.splitlines()[1].replace("chr22", "chrY") + "\n"
    with caplog.at_level("WARNING", logger="genesim"):
        genes = read_genes(write(tmp_path, again))
    assert genes.loc["ENSG00000000001.4", "contig"] == "chr22"
    assert "1 gene_id come again" in caplog.text


def test_contigs_restrict_and_rename(tmp_path):
    path = write(tmp_path, GTF)
    genes = read_genes(path, contigs=["22", "7"])
    assert list(genes.contig) == ["22", "22"]
    assert list(read_genes(path, contigs=["chr21"]).index) == ["ENSG00000000003.1"]
    with pytest.raises(JoinError, match="has none of the contigs 7; its own are chr22, chr21"):
        read_genes(path, contigs=["7"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("chr1\tx\tgene\t5", "line 2: has 4 tab-separated columns"),
        ("chr1 x gene 5 9", "line 2: has 1 tab-separated"),
        ('chr1\tx\tgene\ta\t9\t.\t+\t.\tgene_id "G"', "line 2: start 'a' or end '9' is no position"),
        ('chr1\tx\tgene\t9\t5\t.\t+\t.\tgene_id "G"', "line 2: start 9 and end 5"),
        ('chr1\tx\tgene\t0\t5\t.\t+\t.\tgene_id "G"', "line 2: start 0"),
        ('chr1\tx\tgene\t1\t5\t.\t*\t.\tgene_id "G"', r"line 2: strand is '\*'"),
        ('chr1\tx\tgene\t1\t5\t.\t+\t.\tgene_name "G"', "line 2: has no gene_id"),
    ],
)
def test_malformed_lines_are_named(tmp_path, line, message):
    with pytest.raises(InputError, match=message):
        read_genes(write(tmp_path, "# header\n" + line + "\n"))


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_genes(tmp_path / "none.gtf")
    with pytest.raises(InputError, match="holds no genes"):
        read_genes(write(tmp_path, "# nothing\n"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00gene\n")
    with pytest.raises(InputError, match="cannot be read"):
        read_genes(tmp_path / "binary")


def test_versions_are_stripped_from_stable_ids_only():
    assert strip_version("ENSMUSG00000000001.12") == "ENSMUSG00000000001"
    assert strip_version("ENSG00000182378.14_PAR_Y") == "ENSG00000182378_PAR_Y"
    assert strip_version("RP11-34P13.7") == "RP11-34P13.7"
    assert strip_version("FBgn0000008") == "FBgn0000008"


def test_locate_by_id_by_id_without_version_and_by_unique_name(tmp_path):
    genes = read_genes(write(tmp_path, GTF))
    names = ["BBB", "nothing", "ENSG00000000002.1", "ENSG00000000001", "ENSG00000000003.9", "AAA", "aaa"]
    located = locate_genes(names, genes)
    assert list(located.index) == names
    assert list(located.matched_by) == [
        "ambiguous",
        "absent",
        "gene_id",
        "gene_id_unversioned",
        "gene_id_unversioned",
        "gene_name",
        "absent",
    ]
    assert located.loc["ENSG00000000001", "tss"] == 100
    assert located.loc["AAA", "gene_id"] == "ENSG00000000001.4"
    assert located.loc["nothing", list(UNPLACED)].to_dict() == UNPLACED
    assert located["tss"].dtype == np.int64
    assert match_counts(located) == {
        "gene_id": 1,
        "gene_id_unversioned": 2,
        "gene_name": 1,
        "ambiguous": 1,
        "absent": 2,
    }


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=8), st.permutations(list("abcdefgh")))
def test_locate_equals_a_slow_search(annotated_names, sought):
    genes = pd.DataFrame(
        {
            "gene_id_unversioned": [f"id{i}" for i in range(len(annotated_names))],
            "gene_name": annotated_names,
            "contig": "1",
            "start": np.arange(len(annotated_names)),
            "end": np.arange(len(annotated_names)) + 1,
            "strand": "+",
            "tss": np.arange(len(annotated_names)),
        },
        index=pd.Index([f"id{i}" for i in range(len(annotated_names))], name="gene_id"),
    )
    located = locate_genes(sought, genes)
    for name in sought:
        where = [i for i, other in enumerate(annotated_names) if other == name]
        assert located.loc[name, "tss"] == (where[0] if len(where) == 1 else -1)


def test_real_gencode_and_geuvadis(shared_data):
    import anndata as ad

    began = time.perf_counter()
    genes = read_genes(shared_data / "annotation" / "gencode.v19.annotation.chr22.gtf.gz", contigs=["22"])
    assert time.perf_counter() - began < 20
    assert len(genes) == 1206  # lines of kind gene, counted with awk
    assert set(genes.contig) == {"22"}
    bulk = ad.read_h5ad(shared_data / "paired" / "geuvadis_chr22.h5ad", backed="r")
    located = locate_genes(bulk.var_names, genes)
    found = located[located.contig == "22"]
    assert len(found) > 550
    # The file's own tss column is 1-based and was derived by another program.
    pd.testing.assert_series_equal(
        to_one_based(found["tss"]),
        bulk.var.loc[found.index, "tss"],
        check_names=False,
        check_dtype=False,
        check_index_type=False,
    )
