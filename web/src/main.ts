// Everything that a page may hold. Elements first, then the views, which register themselves by importing them.

import "./elements/page";
import "./elements/picture";
import "./elements/features";
import "./elements/classes";
import "./elements/card";
import "./elements/class-card";
import "./elements/evidence";
import "./elements/table";
import "./elements/preview";
import "./elements/keys";
import "./elements/map";
import "./elements/atlas";
import "./elements/factors";
import "./elements/unit";
import "./review/review";
import "./views/map";
import "./views/atlas";
import "./views/factors";
import "./views/feature";
import "./views/class";
import "./views/finding";
import "./views/table";
import "./views/glossary";
