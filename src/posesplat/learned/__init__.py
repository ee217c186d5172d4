"""The feed-forward network: from a few unposed photos to Gaussians and cameras, its losses and its training."""
