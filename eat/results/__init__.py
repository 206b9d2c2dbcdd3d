"""Tables and figures over many finished runs."""
