"""Pictures for people; never called by inference."""
