"""Where matches of two images come from: keypoints, a network, or a file."""
