"""Peers in environments of their own: `environments` makes them and talks to the runners that work inside."""
