"""Render aerial scenes for the sample set: grounds, objects, scenes and kinds of scenes."""
