"""Deployment: a trained network where it is used."""
