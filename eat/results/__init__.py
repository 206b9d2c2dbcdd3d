"""Tables and figures over many finished runs, from what the runs logged alone, and pages that cannot go stale."""
