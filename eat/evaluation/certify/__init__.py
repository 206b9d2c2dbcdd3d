"""Certify an operating point: losses, tests, sequences of points, the certificate."""
