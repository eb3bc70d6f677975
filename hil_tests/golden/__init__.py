"""Golden data: register positions and frames as their datasheets print them. The drivers never import it."""
