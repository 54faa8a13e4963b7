"""Pictures of objects, by ray casting."""
