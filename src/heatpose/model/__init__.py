"""From crop to keypoints: the network, its heatmaps and its weights."""
