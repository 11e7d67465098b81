"""How fast the admin and the read API stay as turns add up: a generator, and what measures it."""
