"""Views of a set of Gaussians."""
