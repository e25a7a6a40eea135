"""What a user may set of the report."""

from __future__ import annotations

from typing import Literal

from genesim.config.base import Record


class ReportConfig(Record):
    """The report page."""

    embedding: Literal["umap", "pca"] = "umap"
    """Picture of the cells: UMAP, or the first two principal components, which take seconds less."""
