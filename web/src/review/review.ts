// Reviewing together: only where a server says so (index.review); a page from disk shows none of it.

import "./bar";
import "./feature";
import "./finding";
import "./queue";
import "./view";
