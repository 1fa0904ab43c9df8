"""Rendered aerial scenes for the sample set: grounds, the objects on them, one scene, and the kinds of scene."""
