"""Anomaly detectors: members, their fusion and the fleet of one site."""
