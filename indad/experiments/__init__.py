"""Runs and what is made of them: sweeps, records, tables, figures, reports."""
