"""Write scores and pictures as a folder of static HTML that opens from disk."""
