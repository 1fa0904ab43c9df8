"""Score saliency maps against masks under one of two protocols, and write tables and curves."""
