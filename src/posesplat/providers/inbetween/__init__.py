"""Frames between two images: from files, by morphing, by networks, by services."""
