"""`mulligan serve`: runs over HTTP, and the review queue. A thin shell over `reports.page`.

`shelf` says which runs there are, `heads` what the list says of each, `books` holds their pages, `site` and `api` are
the routes, `overview` and `tally` are what the queue shows, `guard` is what every request passes first, `protocol`
and `serving` listen. `reviews` is what people write.
"""

from .application import application, bind_report
from .books import Books, Bound
from .guard import Guard, Hosts
from .heads import Head, Heads, address_of, read_head
from .serving import PORT, REVIEWS, Ready, listening, serve
from .shelf import Found, Shelf

__all__ = [
    "PORT", "REVIEWS", "Books", "Bound", "Found", "Guard", "Head", "Heads", "Hosts", "Ready", "Shelf", "address_of",
    "application", "bind_report", "listening", "read_head", "serve",
]  # fmt: skip
