"""Submissions to a competition: rows as in its sample, within a time budget, and their score."""

from __future__ import annotations

from dawnchorus.competition.submission.degradation import Way, thinner_ways
from dawnchorus.competition.submission.form import SubmissionForm, read_sample_submission
from dawnchorus.competition.submission.score import CompetitionScore, competition_score
from dawnchorus.competition.submission.timed_prediction import (
    Submission,
    SubmissionSettings,
    predict_submission,
)

__all__ = [
    "CompetitionScore",
    "Submission",
    "SubmissionForm",
    "SubmissionSettings",
    "Way",
    "competition_score",
    "predict_submission",
    "read_sample_submission",
    "thinner_ways",
]
