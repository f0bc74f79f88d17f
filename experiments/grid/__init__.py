"""From configuration keys to the points of a sweep."""
