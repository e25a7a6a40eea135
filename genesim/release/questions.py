"""The questions of the data sheet (Gebru et al. 2018, arXiv:1803.09010), shortened; those that ask for nothing new
("any other comments?") are left out.

They are asked of the released, simulated data; `training_` questions are asked of the real data behind them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        id: Key of `ReleaseAnswers.datasheet`.
        section: One of the paper's seven sections.
        text: The question.
    """

    id: str
    section: str
    text: str


_SECTIONS: dict[str, dict[str, str]] = {
    "Motivation": {
        "purpose": "For what purpose were the data created? Which task or gap was in mind?",
        "creators": "Who created the data, and on behalf of which entity?",
        "funding": "Who funded the creation of the data?",
    },
    "Composition": {
        "instances": "What do the instances represent? Are there several types?",
        "n_instances": "How many instances are there of each type?",
        "sample": "Are they all possible instances, or a sample of a larger set? Is it representative?",
        "features": "What does each instance consist of?",
        "labels": "Is there a label or target with each instance?",
        "missing": "Is information missing from instances? Why?",
        "relationships": "Are relationships between instances made explicit?",
        "splits": "Are there recommended splits?",
        "errors": "Are there errors, sources of noise or redundancies?",
        "self_contained": "Are the data self-contained, or do they rely on external resources?",
        "confidential": "Do they hold confidential data?",
        "offensive": "Do they hold anything that might offend, insult or threaten?",
        "subpopulations": "Do they identify subpopulations, and how are these distributed?",
        "identify_persons": "Can natural persons be identified, directly or with other data?",
        "sensitive": "Do they hold data that are sensitive, such as genetic or health data?",
    },
    "Collection process": {
        "acquired": "How were the data of each instance acquired?",
        "mechanisms": "Which mechanisms, software or apparatus were used, and how were they validated?",
        "sampling": "If they are a sample of a larger set, what was the sampling strategy?",
        "training_collectors": "Who collected the real training data, and how were they compensated?",
        "training_timeframe": "Over what time were the real training data collected?",
        "training_ethics": "Were the real training data reviewed by an ethics board? With what outcome?",
        "training_source": "Were the real training data collected from the persons, or through third parties?",
        "training_notice": "Were the persons notified of the collection?",
        "training_consent": "Did the persons consent to the collection and to this use of their data?",
        "training_revoke": "Can the persons revoke their consent, and what follows for models and simulated data?",
        "impact": "Was the potential impact on the persons analysed, as in a data protection impact assessment?",
    },
    "Preprocessing": {
        "preprocessing": "Was there preprocessing, cleaning or labelling?",
        "raw_saved": "Were the raw data saved as well?",
        "software": "Is the software of the preprocessing available?",
    },
    "Uses": {
        "used_already": "Have the data been used already?",
        "repository": "Is there a place that lists papers or systems that use the data?",
        "other_uses": "What could the data be used for?",
        "use_impact": "Does anything about their making affect future uses, such as unfair treatment of groups?",
        "unfit_uses": "For which tasks should they not be used?",
    },
    "Distribution": {
        "third_parties": "Will the data go to third parties outside the entity that made them?",
        "how_distributed": "How will they be distributed? Do they have a persistent identifier?",
        "when_distributed": "When will they be distributed?",
        "license": "Under which licence or terms of use?",
        "third_party_terms": "Do third parties restrict the data, as the terms of the training data may?",
        "export": "Do export controls or other regulations apply?",
    },
    "Maintenance": {
        "maintainer": "Who hosts, supports and maintains the data?",
        "contact": "How can the maintainer be reached?",
        "erratum": "Is there an erratum?",
        "updates": "Will the data be updated, by whom, and how is it made known?",
        "retention": "Are there limits on how long the data of the persons behind them may be kept?",
        "older_versions": "Will older versions be kept?",
        "contributions": "How can others extend or correct the data?",
    },
}
QUESTIONS: tuple[Question, ...] = tuple(
    Question(id, section, text) for section, questions in _SECTIONS.items() for id, text in questions.items()
)


def template() -> str:
    """A YAML file to fill in: every question as a comment, every answer left empty, which is no answer.

    Questions that the record of a run answers may be answered by hand too; the hand's answer is then given.
    """
    lines = [
        "# Answers for `genesim release prepare --answers`. What stays empty is listed as not answered, unless the",
        '# record of the run answers it. Where a question does not apply, say why: "not applicable: ...".',
        *(f"{key}:" for key in ("title", "publisher", "contact", "license")),
        "intended_uses: []",
        "uses_to_avoid: []",
        "datasheet:",
    ]
    for section, questions in _SECTIONS.items():
        lines += ["", f"  # -- {section}"]
        for id, text in questions.items():
            lines += [f"  # {text}", f"  {id}:"]
    return "\n".join(lines) + "\n"
