"""A whole run: stages chained by a recipe, a finished run opened again, several compared."""
