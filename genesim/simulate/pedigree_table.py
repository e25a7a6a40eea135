"""Pedigrees as tables: checked, put into the order of generations, and made for common designs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from genesim.data.ploidy import FEMALE, MALE, sexes
from genesim.errors import ConfigError, InputError

COLUMNS = ["donor", "father", "mother", "sex"]
_NOBODY = ("", "0", ".", "nan", "None", "<NA>")


@dataclass(frozen=True)
class Member:
    """One row of a pedigree; parents are "" for a founder."""

    donor: str
    father: str
    mother: str
    sex: str

    @property
    def is_founder(self) -> bool:
        return not self.father


def _refuse(found: str, remedy: str) -> InputError:
    return InputError(found, where="pedigree", remedy=remedy)


def read_pedigree(pedigree: pd.DataFrame) -> dict[str, Member]:
    """The members by id, parents before their children.

    Raises:
        InputError: Columns, ids, parents or sexes that cannot be.
    """
    lacking = [name for name in COLUMNS if name not in pedigree.columns]
    if lacking:
        raise _refuse(f"lacks the columns {', '.join(lacking)}", f"give {', '.join(COLUMNS)}")
    text = {name: pedigree[name].astype(str).to_numpy(object) for name in COLUMNS}
    index = pd.Index(text["donor"], dtype=object)
    if not index.is_unique:
        raise _refuse(f"donor '{index[index.duplicated()][0]}' has two rows", "give one row a donor")
    sex = sexes(pd.Series(text["sex"], index=index), index)
    members: dict[str, Member] = {}
    for donor, father, mother, own in zip(index, text["father"], text["mother"], sex, strict=True):
        father, mother = ("" if parent in _NOBODY else parent for parent in (father, mother))
        if bool(father) != bool(mother):
            raise _refuse(f"'{donor}' has one parent only", "name both, adding the other as a founder, or neither")
        if own not in (FEMALE, MALE):
            raise _refuse(f"'{donor}' is of sex {own!r}", "say female or male")
        members[donor] = Member(donor, father, mother, own)
    for member in members.values():
        for parent, wanted in ((member.father, MALE), (member.mother, FEMALE)):
            if parent and parent not in members:
                raise _refuse(f"'{parent}', parent of '{member.donor}', has no row", "add the parent as a founder")
            if parent and members[parent].sex != wanted:
                raise _refuse(
                    f"'{parent}' is {members[parent].sex} and the {'father' if wanted == MALE else 'mother'} of"
                    f" '{member.donor}'",
                    "correct the sex, or swap the parents",
                )
    return _by_generation(members)


def _by_generation(members: dict[str, Member]) -> dict[str, Member]:
    ordered: dict[str, Member] = {}
    waiting = dict(members)
    while waiting:
        ready = [m for m in waiting.values() if m.is_founder or (m.father in ordered and m.mother in ordered)]
        if not ready:
            raise _refuse(f"'{next(iter(waiting))}' descends from itself", "break the circle of parents")
        for member in ready:
            ordered[member.donor] = waiting.pop(member.donor)
    return ordered


def founders_of(pedigree: pd.DataFrame) -> pd.DataFrame:
    """Founders of a pedigree: index `donor`, column `sex`. Draw them with `sample(donors=..., sex=...)`."""
    found = [member for member in read_pedigree(pedigree).values() if member.is_founder]
    index = pd.Index([member.donor for member in found], dtype=object, name="donor")
    return pd.DataFrame({"sex": [member.sex for member in found]}, index=index)


def _families(n_families: int, roles: list[tuple[str, str, str, str]], prefix: str, seed_sex: int) -> pd.DataFrame:
    """`roles` (name, father, mother, sex; sex "" alternates) of each family, under ids `<prefix>0001_<name>`."""
    if n_families < 1:
        raise ConfigError(f"n_families is {n_families}", where="pedigree", remedy="ask for 1 or more")
    width = max(4, len(str(n_families)))
    rows = []
    for number in range(n_families):
        family = f"{prefix}{number + 1:0{width}d}_"
        drawn = np.random.default_rng([seed_sex, number]).integers(0, 2, len(roles))
        for (name, father, mother, sex), coin in zip(roles, drawn, strict=True):
            parents = (family + father, family + mother) if father else ("", "")
            rows.append((family + name, *parents, sex or (FEMALE, MALE)[coin]))
    return pd.DataFrame(rows, columns=COLUMNS)


def nuclear_families(n_families: int, n_children: int = 1, *, prefix: str = "F", seed: int = 0) -> pd.DataFrame:
    """Father, mother and children: trios with one child, sib pairs with two. Children's sex is drawn with `seed`."""
    if n_children < 1:
        raise ConfigError(f"n_children is {n_children}", where="pedigree", remedy="ask for 1 or more")
    roles = [("father", "", "", MALE), ("mother", "", "", FEMALE)]
    roles += [(f"child{number + 1}", "father", "mother", "") for number in range(n_children)]
    return _families(n_families, roles, prefix, seed)


def half_siblings(n_families: int, *, prefix: str = "F", seed: int = 0) -> pd.DataFrame:
    """One mother, two fathers, and a child of each."""
    roles = [("father1", "", "", MALE), ("father2", "", "", MALE), ("mother", "", "", FEMALE)]
    roles += [("child1", "father1", "mother", ""), ("child2", "father2", "mother", "")]
    return _families(n_families, roles, prefix, seed)


def first_cousins(n_families: int, *, prefix: str = "F", seed: int = 0) -> pd.DataFrame:
    """Grandparents, their son and daughter with a spouse each, and one child of either couple."""
    roles = [
        ("grandfather", "", "", MALE),
        ("grandmother", "", "", FEMALE),
        ("son", "grandfather", "grandmother", MALE),
        ("daughter", "grandfather", "grandmother", FEMALE),
        ("wife", "", "", FEMALE),
        ("husband", "", "", MALE),
        ("cousin1", "son", "wife", ""),
        ("cousin2", "husband", "daughter", ""),
    ]
    return _families(n_families, roles, prefix, seed)
