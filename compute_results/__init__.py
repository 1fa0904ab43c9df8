"""Saliency maps and masks to the field's tables and curves, under two protocols that are never mixed."""
