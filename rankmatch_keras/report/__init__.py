"""Reports to send: a run, or a comparison of runs, in one HTML file."""

from rankmatch_keras.report.comparison import write_comparison_report as write_comparison_report
from rankmatch_keras.report.run import Scored as Scored
from rankmatch_keras.report.run import score_run as score_run
from rankmatch_keras.report.run import write_report as write_report
