// Nothing can be opened on paper, so that how to do it again is open there.
"use strict";
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details.again")) details.open = true;
});
