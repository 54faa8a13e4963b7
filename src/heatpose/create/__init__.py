"""From CAD models to a bundle in one go: scenes, both networks, export, evaluation."""
