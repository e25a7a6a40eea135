"""privacy.json: every privacy row of the evaluation, a cautious conclusion, and what nobody tested."""

from __future__ import annotations

from genesim.metrics.membership import smallest_detectable_auc
from genesim.release.cards import NO_MECHANISM
from genesim.release.facts import RunFacts
from genesim.release.records import Privacy, Row, Threat, shown

GROUP_ATTACK = "donor_cells_membership_auc"
MIN_DONORS = 20
"""Donors that training and held-out side need each before an attack that fails says anything."""

# What could be learned of a real donor, and the metrics that try it. A metric that is not named here is listed as
# a threat of its own.
_THREATS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("a training haplotype is handed out whole", ("exact_copies_haplotypes",)),
    ("long tracts of training haplotypes are handed out", ("longest_shared_tract",)),
    ("simulated haplotypes lie nearer to training than to held-out ones", ("privacy_loss",)),
    ("membership of a haplotype, by its distance to the nearest simulated one", ("membership_auc",)),
    ("a training cell is handed out whole", ("exact_copies_cells",)),
    ("simulated cells lie nearer to training than to held-out ones", ("nearest_neighbour_share",)),
    ("membership of a donor, by its nearest simulated haplotype (in fairness.json)", ("donor_membership_auc",)),
    (
        "membership of a donor, by all of the donor's cells together",
        tuple(f"donor_attack_{name}" for name in ("nearest", "density", "margins", "copula")),
    ),
    ("membership of a donor, by the network's likelihood of the donor's cells", ("donor_attack_white_box",)),
    ("membership of a donor, by expression and genotypes together", ()),
    ("linkage of a simulated donor's expression to real genotypes through variant effects", ("donor_linkage",)),
    ("inference of a donor's unknown attributes from known ones", ()),
    ("attacks with access to the models' weights or training code", ()),
    ("attacks by somebody who knows relatives of a donor", ()),
    ("repeated releases from the same training donors, put together", ()),
)


def _reasons(facts: RunFacts, rows: list[Row]) -> tuple[list[str], list[str]]:
    """Why there are signs of training data; and why the rest says little."""
    attacked = [row for row in facts.group_rows if row.metric in ("donor_membership_auc", GROUP_ATTACK)]
    signs = [f"{row.subject}: {row.label}: {row.verdict}" for row in rows if row.level in ("middle", "bad")]
    # The released donors are fixed and the split is random: without a leak the interval holds .5 in 95 %.
    signs += [
        f"{row.attribute} {row.group}: {row.label}: AUC {row.value:.2f} ({row.low:.2f} to {row.high:.2f}); of the "
        f"{len(attacked)} groups that were attacked one in 40 would show as much by chance"
        for row in attacked
        if row.value is not None and row.gap_low is not None and row.gap_low > 0
    ]
    weak = [f"{row.subject}: {row.label}: {row.verdict}" for row in rows if row.level == "unknown"]
    weak += [
        f"{row.subject}: {row.label}: {row.verdict}"
        for row in rows
        if "weak test" in row.verdict and row.level not in ("middle", "bad")
    ]
    for data in ("cells", "genotypes"):
        n = {split: len(facts.donors_with(data, split)) for split in ("train", "test")}
        if min(n.values()) < MIN_DONORS:
            weak.append(
                f"{shown(n['train'])} training and {shown(n['test'])} held-out donors have {data}: with fewer than "
                f"{MIN_DONORS} on either side an attack that fails says little"
            )
    weak += [f"donors: the attacks say nothing: {reason}" for reason in facts.donor_audit.get("invalid", ())]
    weak += [
        f"donors: the model's own likelihood says nothing: {reason}"
        for reason in facts.donor_audit.get("invalid_white_box", ())
    ]
    if facts.donor_audit.get("conclusion") == "not made":
        weak.append(f"donors: no attacks on their cells: {facts.donor_audit['reason']}")
    linkage = facts.donor_audit.get("linkage", {})
    weak += [f"linkage through variant effects says nothing: {reason}" for reason in linkage.get("invalid", ())]
    if linkage.get("conclusion") == "not made":
        weak.append(f"no linkage through variant effects: {linkage['reason']}")
    kinds = {row.subject.split(" ")[0] for row in rows}
    weak += [f"no privacy test of {kind} was run" for kind in ("expression", "haplotypes") if kind not in kinds]
    return signs, weak


def privacy(facts: RunFacts) -> Privacy:
    """The privacy paper. It never says that data are safe: it says which attacks were tried and what they found."""
    rows = [row for row in facts.weakest_first if row.family == "privacy"]
    signs, weak = _reasons(facts, rows)
    metrics = {row.metric for row in rows}
    metrics |= {row.metric for row in facts.group_rows}
    tested: list[Threat] = []
    not_tested: list[Threat] = []
    for threat, names in _THREATS:
        tried = tuple(name for name in names if name in metrics)
        (tested if tried else not_tested).append(Threat(threat=threat, metrics=tried))
    named = {name for _, names in _THREATS for name in names}
    tested += [Threat(threat=row.label, metrics=(row.metric,)) for row in rows if row.metric not in named]
    n = {(d, s): len(facts.donors_with(d, s)) for d in ("cells", "genotypes") for s in ("train", "test")}
    return Privacy(
        conclusion="signs of training data"
        if signs
        else "inconclusive"
        if weak
        else "no sign of training data in the tests that were run",
        reasons=tuple(dict.fromkeys(signs + weak)),
        unit=(
            "The unit of privacy is the donor. Rows on cells and haplotypes count those, and a donor has several: "
            "their intervals are narrower than a donor's would be."
        ),
        mechanism=NO_MECHANISM,
        n_donors={f"{'training' if s == 'train' else 'held out'}, with {d}": shown(n[d, s]) for d, s in n},
        smallest_detectable_auc={
            d: smallest_detectable_auc(n[d, "train"], n[d, "test"]) for d in ("cells", "genotypes")
        },
        donor_audit=facts.donor_audit,
        rows=tuple(rows),
        tested=tuple(dict.fromkeys(tested)),
        not_tested=tuple(not_tested),
    )
