"""How a picture is written down as parameters that an optimizer can climb in."""
