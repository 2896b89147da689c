"""Reports of runs, from their directories alone: tables, figures and one HTML page."""

from wna_tf.experiments.reporting.charts import Exhibit
from wna_tf.experiments.reporting.page import PAGE
from wna_tf.experiments.reporting.writing import check, report

__all__ = ["PAGE", "Exhibit", "check", "report"]
