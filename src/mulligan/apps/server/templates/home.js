// The token moves from the address, where it would be seen and mailed, to this tab's own storage.
"use strict";
const given = new URLSearchParams(location.search).get("token");
if (given) {
  sessionStorage.setItem("mg-token", given);
  history.replaceState(null, "", location.pathname);
}
if (sessionStorage.getItem("mg-token")) {
  document.getElementById("writing").textContent = "This tab may write: open a run and choose Review.";
}
