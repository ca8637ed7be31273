"""Text for people: durations, tables, histograms, summaries. Everything takes values and returns a string."""

from scorer.show.prompts import preview_text, prompts_table
from scorer.show.simulation import simulation_text
from scorer.show.status import jobs_table, report, runs_option, summary
from scorer.show.words import duration, harmless, rate, table

__all__ = [
    "duration",
    "harmless",
    "jobs_table",
    "preview_text",
    "prompts_table",
    "rate",
    "report",
    "runs_option",
    "simulation_text",
    "summary",
    "table",
]
