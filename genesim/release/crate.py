"""RO-Crate metadata of a bundle: RO-Crate 1.1 with the Process Run Crate profile 0.5, as plain JSON-LD.

What a run used but the bundle does not hold (real data, weights) is described by its hash only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genesim.provenance.manifest import sha256

NAME = "ro-crate-metadata.json"
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_TERMS = "https://w3id.org/ro/terms/workflow-run/context"
_SOFTWARE = "https://github.com/genesim/genesim"
_KINDS = {
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".md": "text/markdown",
    ".csv": "text/csv",
    ".html": "text/html",
    ".yaml": "application/yaml",
    ".parquet": "application/vnd.apache.parquet",
    ".h5ad": "application/x-hdf5",
    ".gz": "application/gzip",
    ".tbi": "application/octet-stream",
    ".sha256": "text/plain",
}
Node = dict[str, Any]


def _reference(*ids: str) -> Node | list[Node]:
    """References; a single one stands alone, as RO-Crate recommends."""
    found = [{"@id": id} for id in ids]
    return found[0] if len(found) == 1 else found


def _files(files: Mapping[str, Path]) -> list[Node]:
    return [
        {
            "@id": name,
            "@type": "File",
            "name": name,
            "encodingFormat": _KINDS.get(path.suffix, "application/octet-stream"),
            "contentSize": str(path.stat().st_size),
            "sha256": sha256(path),
        }
        for name, path in files.items()
    ]


def _outside(id: str, name: str, digest: str, about: str) -> Node:
    return {"@id": id, "@type": "CreativeWork", "name": name, "description": about, "identifier": f"sha256:{digest}"}


def _action(id: str, name: str, used: Sequence[str], made: Sequence[str], **more: Any) -> Node:
    return {
        "@id": id,
        "@type": "CreateAction",
        "name": name,
        "description": f"{name}, with the settings and versions of data/provenance.json and cards/",
        "actionStatus": "http://schema.org/CompletedActionStatus",
        "instrument": {"@id": _SOFTWARE},
        "object": _reference(*used),
        "result": _reference(*made),
        **more,
    }


def crate(
    files: Mapping[str, Path],
    *,
    title: str,
    description: str,
    time: str,
    version: str,
    license: str | None,
    publisher: str | None,
    cohort: str,
    models: Mapping[str, str],
) -> dict[str, Any]:
    """The document.

    Args:
        files: Files of the bundle by name, but for this one.
        title: Of the released data.
        description: One sentence.
        time: UTC, ISO 8601.
        version: Of genesim.
        license: Name or address of the terms; None where there are none.
        publisher: Who releases; None where nobody is named.
        cohort: SHA-256 of the cohort's manifest.
        models: SHA-256 of each model's manifest by name.
    """
    data = [name for name in files if name.startswith("data/")]
    evidence = [name for name in files if name.startswith("evidence/")]
    papers = [name for name in files if name not in {*data, *evidence}]
    real = "Real data; they stay where they are and are not in the bundle."
    weights = "Trained weights; they can reveal who was in training and are not in the bundle."
    model_ids = {name: f"#model-{name.replace('/', '-')}" for name in models}
    agent: Node = {"agent": {"@id": "#publisher"}} if publisher else {}
    terms = license or "No licence is stated: ask whoever released the data."
    address = terms if terms.startswith(("https://", "http://")) and " " not in terms else "#license"
    root: Node = {
        "@id": "./",
        "@type": "Dataset",
        "name": title,
        "description": description,
        "datePublished": time[:10],
        "license": {"@id": address},
        "conformsTo": {"@id": _PROFILE},
        "keywords": "synthetic data, single-cell expression, genotypes",
        "hasPart": _reference(*files),
        "mentions": _reference(*(f"#train{id[6:]}" for id in model_ids.values()), "#simulate", "#evaluate", "#release"),
    }
    if publisher:
        root["publisher"] = root["author"] = {"@id": "#publisher"}
    graph: list[Node] = [
        {
            "@id": NAME,
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        },
        root,
        {"@id": _PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
        {
            "@id": address,
            "@type": "CreativeWork",
            "name": terms,
            "description": "Terms of use as the releaser gave them.",
        },
        {
            "@id": _SOFTWARE,
            "@type": "SoftwareApplication",
            "name": "genesim",
            "url": _SOFTWARE,
            "softwareVersion": version,
        },
        _outside("#cohort", "cohort", cohort, real),
        *(_outside(model_ids[name], f"model {name}", digest, weights) for name, digest in models.items()),
        *(
            _action(f"#train{id[6:]}", f"genesim train: {name}", ["#cohort"], [id], **agent)
            for name, id in model_ids.items()
        ),
        _action("#simulate", "genesim simulate", list(model_ids.values()), data, **agent),
        _action("#evaluate", "genesim evaluate", ["#cohort", *data], evidence, **agent),
        _action("#release", "genesim release prepare", [*data, *evidence], papers, endTime=time, **agent),
        *_files(files),
    ]
    if publisher:
        graph.append({"@id": "#publisher", "@type": "Organization", "name": publisher})
    return {"@context": ["https://w3id.org/ro/crate/1.1/context", _TERMS], "@graph": graph}
