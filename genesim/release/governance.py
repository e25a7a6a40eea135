"""Which file of the bundle answers what four texts ask for. Paraphrased; no claim that any of them is complied with.

Sources: FDA, Health Canada and MHRA, Good Machine Learning Practice for Medical Device Development: Guiding
Principles (October 2021); Regulation (EU) 2024/1689, Annex IV; 45 CFR 164.514(b)(1); NIST SP 800-226 (March 2025),
doi:10.6028/NIST.SP.800-226.
"""

from __future__ import annotations

from typing import Literal

from genesim.release.records import Asked, Governance, Text

STATEMENT = (
    "This table says which file speaks to what each text asks for. It claims no compliance with any of them and is no "
    "legal advice: whether a text applies, and whether what is here is enough, is for those who answer for it."
)
CARDS, SHEET, PRIVACY, FAIR = "cards/", "datasheet.json", "privacy.json", "fairness.json"
SCORES, PROVENANCE, CRATE, AUDIT = (
    "evidence/scores.csv",
    "data/provenance.json",
    "ro-crate-metadata.json",
    "audit.jsonl",
)
MANIFEST, TRAINING, APPROVAL = "manifest.sha256", "training.json", "approval.json"
Status = Literal["answered", "partly", "not answered here"]


def _asked(id: str, asks: str, status: Status, files: tuple[str, ...] = (), note: str = "") -> Asked:
    return Asked(id=id, asks=asks, status=status, files=files, note=note)


def _gmlp() -> Text:
    return Text(
        name="Good Machine Learning Practice, ten guiding principles",
        source="FDA, Health Canada, MHRA, October 2021",
        items=(
            _asked("1", "Expertise of several disciplines throughout the product's life", "not answered here"),
            _asked(
                "2",
                "Good software engineering and security practices",
                "partly",
                (MANIFEST, AUDIT, PROVENANCE),
                "integrity and versions of this bundle; not the security of the place that keeps it",
            ),
            _asked(
                "3",
                "Participants and data represent the intended patient population",
                "partly",
                (FAIR, SHEET),
                "ancestry and sex of training, held-out and simulated donors; who is meant to be served is not known",
            ),
            _asked(
                "4",
                "Training data are independent of test data",
                "answered",
                (TRAINING, CARDS),
                "no donor is on both sides; relatives across the sides are not excluded unless the donor table says so",
            ),
            _asked("5", "Reference data rest on the best available methods", "partly", (TRAINING, SHEET)),
            _asked(
                "6",
                "The model's design fits the data and the intended use",
                "partly",
                (CARDS, SCORES),
                "each model beside its baselines; the fit to a device's use is not judged",
            ),
            _asked("7", "Performance of the team of human and AI", "not answered here"),
            _asked(
                "8",
                "Testing shows performance under clinically relevant conditions",
                "not answered here",
                (),
                "tests are on held-out research data",
            ),
            _asked("9", "Users get clear, essential information", "partly", ("README.md", CARDS, SHEET)),
            _asked("10", "Deployed models are monitored, risks of re-training are managed", "not answered here"),
        ),
    )


def _annex_iv() -> Text:
    return Text(
        name="EU AI Act, Annex IV: technical documentation",
        source="Regulation (EU) 2024/1689, Annex IV",
        items=(
            _asked(
                "1",
                "General description: purpose, provider, versions, hardware and software, forms, instructions",
                "partly",
                ("README.md", CARDS, PROVENANCE),
                "purpose and provider as the releaser gave them; no hardware, no user interface",
            ),
            _asked(
                "2(a)", "Methods and steps of development, third-party tools", "answered", (CARDS, CRATE, PROVENANCE)
            ),
            _asked("2(b)", "Design: logic, key choices, assumptions, what is optimised for", "partly", (CARDS,)),
            _asked(
                "2(c)", "Architecture and computing resources", "partly", (CARDS,), "settings; no computing resources"
            ),
            _asked(
                "2(d)",
                "Training data: data sheets, provenance, scope, selection, labelling, cleaning",
                "partly",
                (SHEET, TRAINING),
                "what the record knows; the origin and consent of the training data are the releaser's to answer",
            ),
            _asked("2(e)", "Assessment of human oversight measures (Article 14)", "not answered here"),
            _asked("2(f)", "Predetermined changes to the system", "not answered here"),
            _asked(
                "2(g)",
                "Validation and testing: data, metrics, discriminatory impact, logs and signed reports",
                "partly",
                (SCORES, FAIR, AUDIT, APPROVAL),
                "the approval is a named statement, not a signature",
            ),
            _asked("2(h)", "Cybersecurity measures", "partly", (MANIFEST, AUDIT), "integrity of the bundle only"),
            _asked(
                "3",
                "Monitoring, functioning and control: capabilities, limits, accuracy for groups, foreseeable risks",
                "partly",
                (CARDS, FAIR, PRIVACY),
            ),
            _asked(
                "4", "Appropriateness of the performance metrics", "partly", (SCORES,), "each with its floor and null"
            ),
            _asked("5", "Risk management system (Article 9)", "not answered here"),
            _asked(
                "6", "Relevant changes through the lifecycle", "not answered here", (), "a new version is a new bundle"
            ),
            _asked("7", "Harmonised standards applied, or the solutions adopted instead", "not answered here"),
            _asked("8", "EU declaration of conformity", "not answered here"),
            _asked("9", "Post-market monitoring plan", "not answered here"),
        ),
    )


def _hipaa() -> Text:
    return Text(
        name="HIPAA Privacy Rule, expert determination",
        source="45 CFR 164.514(b)(1)",
        items=(
            _asked(
                "expert",
                "A person with knowledge of and experience with accepted statistical and scientific methods of "
                "making information not individually identifiable decides",
                "not answered here",
                (),
                "whoever approves this bundle is not thereby that expert",
            ),
            _asked(
                "(i)",
                "The expert determines that the risk is very small that an anticipated recipient could identify a "
                "person, alone or with other reasonably available information",
                "not answered here",
                (PRIVACY,),
                "privacy.json is material for the expert; recipients and other information are not known here",
            ),
            _asked(
                "(ii)",
                "The expert documents the methods and results of the analysis",
                "partly",
                (PRIVACY, SCORES),
                "methods and results of the tests that were run; the determination itself is the expert's",
            ),
        ),
    )


def _nist() -> Text:
    none = "no differential privacy is used, so there is nothing to evaluate; it is said, not left open"
    return Text(
        name="NIST SP 800-226, evaluating differential privacy guarantees",
        source="NIST SP 800-226, March 2025",
        items=(
            _asked("parameters", "Epsilon, delta and the variant of the definition", "answered", (PRIVACY,), none),
            _asked(
                "unit",
                "Unit of privacy and what counts as neighbouring data",
                "partly",
                (PRIVACY,),
                "the donor is named as the unit; without a guarantee there is no neighbouring relation",
            ),
            _asked(
                "mechanism", "Mechanisms, sensitivity, accounting and composition", "answered", (PRIVACY, CARDS), none
            ),
            _asked(
                "bias",
                "Utility and bias, systemic, human and statistical",
                "partly",
                (SCORES, FAIR),
                "utility by group; no noise was added that could bias",
            ),
            _asked("trust", "Trust model: who sees raw data", "partly", (SHEET,), "the trainer sees all raw data"),
            _asked("implementation", "Correct implementation, floating point, side channels", "not answered here"),
            _asked("security", "Security of data and access control", "not answered here"),
            _asked("collection", "Exposure at the collection of the data", "not answered here", (SHEET,)),
        ),
    )


def governance() -> Governance:
    """The table. It is the same for every bundle: it points at files, whose content differs."""
    return Governance(statement=STATEMENT, texts=(_gmlp(), _annex_iv(), _hipaa(), _nist()))
