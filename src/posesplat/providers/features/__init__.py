"""Channels by which pixels are compared: colours, normalised grey, or a network's features."""
