"""Errors of poses and the scores of the BOP benchmark."""
