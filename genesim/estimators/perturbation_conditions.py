"""Conditions of a screen: which cells belong together, and what each perturbation is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from genesim.errors import ConfigError, H5adError, TrainingError
from genesim.estimators.perturbation_inputs import Keys, contexts_of, kind_of, parse_label


@dataclass(frozen=True)
class Units:
    """Cells grouped by context, label, kind, dose and replicate.

    Attributes:
        cell: Unit of each cell.
        table: One row a unit: `context`, `label` ("" for controls), `kind`, `dose`, `replicate`.
        is_control: Per cell.
        parts: Components of each label.
    """

    cell: np.ndarray
    table: pd.DataFrame
    is_control: np.ndarray
    parts: dict[str, tuple[str, ...]]


def units_of(obs: pd.DataFrame, keys: Keys) -> Units:
    """Group cells.

    Raises:
        TrainingError: No control cells.
        H5adError: Perturbed cells without a kind or group, where columns hold them.
    """
    label = obs[keys.perturbation].astype(str)
    parts = {v: parse_label(v, keys) for v in label.unique()}
    is_control = np.array([not parts[v] for v in label])
    if not is_control.any():
        raise TrainingError(
            f"no cell is '{keys.control}'; labels are {', '.join(sorted(parts)[:6])} ...",
            where=f"obs['{keys.perturbation}']",
            remedy="name the control label with control=",
        )

    for key in (keys.kinds, keys.group):
        if key is not None and (key not in obs or obs.loc[~is_control, key].isna().any()):
            raise H5adError(
                "the column is missing or incomplete for perturbed cells",
                where=f"obs['{key}']",
                remedy="give every perturbed cell a value, or leave the argument out",
            )

    def column(key: str | None, otherwise: str) -> np.ndarray:
        values = np.full(len(obs), otherwise) if key is None else obs[key].astype(str).to_numpy()
        return np.where(is_control, "", values)

    frame = pd.DataFrame(
        {
            "context": contexts_of(obs, keys.covariates),
            "label": np.where(is_control, "", label),
            "kind": column(keys.kinds, ""),
            "dose": column(keys.dose, "1"),
            "replicate": "" if keys.replicate is None else obs[keys.replicate].astype(str).to_numpy(),
        }
    )
    cell, names = pd.factorize(pd.MultiIndex.from_frame(frame), sort=True)
    return Units(cell, names.set_names(list(frame.columns)).to_frame(index=False), is_control, parts)


def kinds_in(text: str, n: int, keys: Keys) -> list[str]:
    """Kinds of a label's components: one for all, or one a component joined as the labels are.

    Raises:
        H5adError: Their number is neither 1 nor `n`.
        ConfigError: One is no kind.
    """
    if keys.kinds is None:
        return ["genetic"] * n
    found = [kind_of(part, f"obs['{keys.kinds}']") for part in text.split(keys.separator)]
    if len(found) not in (1, n):
        raise H5adError(
            f"'{text}' holds {len(found)} kinds for {n} components",
            where=f"obs['{keys.kinds}']",
            remedy="give one kind a cell, or one a component",
        )
    return found * n if len(found) == 1 else found


@dataclass(frozen=True)
class Components:
    """Components of a screen: name and kind, called by the name alone where that is enough.

    Attributes:
        names: As a user asks for them; "KLF1 [crispra]" where KLF1 was also perturbed in another way.
        kinds: Of `KINDS`, per component.
    """

    names: list[str]
    kinds: list[str]

    @classmethod
    def of(cls, pairs: set[tuple[str, str]]) -> Components:
        ordered = sorted(pairs)
        count = pd.Series([name for name, _ in ordered]).value_counts()
        names = [name if count[name] == 1 else f"{name} [{kind}]" for name, kind in ordered]
        return cls(names, [kind for _, kind in ordered])


def given_kinds(kinds: Mapping[str, str] | None, names: set[str]) -> dict[str, str]:
    """Kinds that a user gave by component.

    Raises:
        ConfigError: A kind, or the name of a component, that does not exist.
    """
    found = {str(name): kind_of(kind, f"kinds['{name}']") for name, kind in (kinds or {}).items()}
    unknown = sorted(set(found) - names)
    if unknown:
        raise ConfigError(
            f"'{unknown[0]}' is no component of any label", where="kinds", remedy=f"labels hold {sorted(names)[:6]}"
        )
    return found


def groups_of(obs: pd.DataFrame, keys: Keys, parts: Mapping[str, tuple[str, ...]], components: list[str]) -> list[str]:
    """Group of each component, from the cells that hold it alone; its own name where `group_key` is not given.

    Raises:
        H5adError: Cells of one perturbation have different groups.
    """
    if keys.group is None:
        return list(components)
    pairs = pd.DataFrame({"label": obs[keys.perturbation].astype(str), "group": obs[keys.group].astype(str)})
    found: dict[str, str] = {}
    for label, rows in pairs.drop_duplicates().groupby("label"):
        own, values = parts[str(label)], list(rows["group"])
        if len(own) != 1:
            continue
        if len(values) > 1:
            raise H5adError(
                f"'{label}' has {len(values)} groups: {', '.join(sorted(values)[:4])}",
                where=f"obs['{keys.group}']",
                remedy="give one group a perturbation, such as the target gene of a guide",
            )
        found[own[0]] = values[0]
    return [found.get(name, name) for name in components]
