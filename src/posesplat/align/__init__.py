"""Bringing Gaussians and observations into agreement."""
