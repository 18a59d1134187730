"""Datasets from the internet: fetched, checked, unpacked."""
