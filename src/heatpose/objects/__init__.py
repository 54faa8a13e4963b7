"""What we look for: meshes with units, symmetries, keypoints, the catalogue of objects."""
