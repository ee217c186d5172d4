"""Poses of subsets of images: from tracks, or by structure from motion."""
