"""Archives on several machines: every image or scene becomes a map once. Needs requirements-cluster.txt."""
