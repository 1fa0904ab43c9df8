"""The two scoring protocols: authors and field."""
