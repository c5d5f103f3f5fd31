// Everything that a page may hold. Elements first, then the views, which register themselves by importing them.

import "./elements/page";
import "./elements/picture";
import "./elements/unit";
import "./elements/unit";
import "./review/review";
