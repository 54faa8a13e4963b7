"""The studies of the founding paper (arXiv 2605.08059): what each part of a recipe brings."""
