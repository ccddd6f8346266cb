"""Reports to send: a run's scores, curves and pictures in one HTML file."""

from rankmatch_keras.report.page import write_report as write_report
