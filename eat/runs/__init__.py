"""Run folders: what lies where, what they are called, and variants of one; the only place that knows."""
