"""Which ordinary posts are about health.

True posts about a topic are the test of a filter that learned false claims about it: one that
learned the topic instead demotes them all.
"""

from __future__ import annotations

import re
from dataclasses import replace

import msgspec
import numpy as np

from feedmill.events.gates import DEMOTE_AT
from feedmill.filters.spec import FilterSpec
from feedmill.models.text_model import TextModel
from feedmill.training.datasets.labelled_posts import LabelledPosts, drop_leaked
from feedmill.training.evaluation.cross_validation import TrainingBudget, train_without
from feedmill.training.evaluation.intervals import Bootstrap, Figure
from feedmill.training.training_data import TrainingData

# General words of the subject, not taken from any data set.
_WORDS = (
    *("covid", "covid-19", "coronavirus", "pandemic", "epidemic", "outbreak", "virus", "viruses"),
    *("vaccine", "vaccines", "vaccinated", "vaccination", "infection", "infected", "immunity"),
    *("flu", "influenza", "ebola", "zika", "measles", "malaria", "hiv", "aids", "tuberculosis"),
    *("health", "healthcare", "medical", "medicine", "medicines", "doctor", "doctors", "nurse"),
    *("nurses", "hospital", "hospitals", "patient", "patients", "surgery", "symptom", "symptoms"),
    *("disease", "diseases", "illness", "cancer", "tumor", "diabetes", "stroke", "alzheimer"),
    *("alzheimer's", "dementia", "autism", "depression", "obesity", "asthma", "allergy"),
    *("allergies", "antibiotic", "antibiotics", "drug trial", "clinical", "therapy", "diagnosis"),
    *("diagnosed", "treatment", "cure", "cdc", "fda", "nhs", "quarantine", "lockdown"),
)
_HEALTH = re.compile(rf"\b(?:{'|'.join(map(re.escape, _WORDS))})\b", re.IGNORECASE)


def health_posts(rows: LabelledPosts) -> LabelledPosts:
    """Return the rows with a word of health in their text."""
    return rows.where(np.array([bool(_HEALTH.search(text)) for text in rows.texts], np.bool_))


class HealthReport(msgspec.Struct, frozen=True):
    """How many posts about health of one source a filter demotes or hides.

    `left_out` says that the model was trained without the source: it is not the stored model.
    """

    source: str
    left_out: bool
    rows: int
    demoted: Figure


def evaluate_health(model: TextModel, rows: LabelledPosts, *, left_out: bool) -> HealthReport:
    """Report on the fine posts about health among these rows of one source."""
    about = health_posts(rows.where(rows.labels == 0))
    demoted = model.score_many(about.posts) >= DEMOTE_AT
    every = np.ones(len(about), np.bool_)
    figure = Bootstrap(about.groups).fraction(demoted, every)
    return HealthReport(rows.source, left_out, len(about), figure)


def evaluate_health_left_out(
    spec: FilterSpec,
    data: TrainingData,
    source: str,
    rows: LabelledPosts,
    budget: TrainingBudget,
) -> HealthReport:
    """Report on rows of a source by a model that neither learned from it nor was tuned on it."""
    ordinary = tuple(dataset for dataset in data.ordinary if dataset.rows.source != source)
    model, training = train_without(spec, replace(data, ordinary=ordinary), rows, budget)
    return evaluate_health(model, drop_leaked(rows, training), left_out=True)
