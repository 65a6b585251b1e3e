"""Verdicts, rows and the report in text and HTML."""
