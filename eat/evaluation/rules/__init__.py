"""Fit, choose, certify and measure sufficient rules: by which sequences exit before the first head."""
