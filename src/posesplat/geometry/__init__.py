"""Cameras, poses and the value types of answers."""
