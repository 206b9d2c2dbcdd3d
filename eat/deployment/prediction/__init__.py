"""Predict whole files, in bounded memory and resumable: rows are read, answered in windows, and written in parts."""
