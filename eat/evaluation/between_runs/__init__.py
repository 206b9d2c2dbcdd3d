"""Several runs beside one another: combined tables, seeds, exits compared."""
