"""Trajectory and scene formats."""
