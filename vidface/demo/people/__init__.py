"""The drawn people: faces, hair and clothes by numbers, and what disturbs them."""
