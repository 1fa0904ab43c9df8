"""The drawings of the documentation, made by code."""
