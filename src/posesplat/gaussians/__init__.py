"""The scene type, its files, and how depth becomes Gaussians."""
