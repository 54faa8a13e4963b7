"""Does the ground truth of a data set fit its pictures, and if not, why."""
