"""The files of a report: tables, sections, figures."""
