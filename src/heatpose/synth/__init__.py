"""Training scenes: objects thrown onto a table or into a bin, drawn as a data set."""
