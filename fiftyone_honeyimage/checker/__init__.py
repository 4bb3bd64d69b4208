"""A checker of evidence in one file, for who installs nothing: it imports no other part of this package, and no part imports it."""
