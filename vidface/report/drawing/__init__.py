"""How every page is drawn: its frame and styles, figures, CSV files."""
