"""The measurements behind docs/faces.md, a module a table. Each gives `table(material) -> list of rows`, head first."""
