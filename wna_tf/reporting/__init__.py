"""Reports of runs, from their directories alone: tables, figures and one HTML page."""

from wna_tf.reporting.page import PAGE
from wna_tf.reporting.report import Exhibit, check_own, report

__all__ = ["PAGE", "Exhibit", "check_own", "report"]
