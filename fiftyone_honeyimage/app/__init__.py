"""What forms and panels share: words and layout."""
