// Brings the page up to date in place, so that what is typed, selected or focused stays.
"use strict";
(() => {
  const EVERY_MS = 5000;
  const PATIENCE_MS = 8000;
  const lost = document.querySelector(".lost");

  const isInUse = (live) => {
    const selection = document.getSelection();
    return document.hidden || (selection && !selection.isCollapsed && live.contains(selection.anchorNode));
  };

  const exchange = (live, fresh) => {
    const focused = live.contains(document.activeElement) && document.activeElement.getAttribute("href");
    live.replaceWith(fresh);
    if (focused) {
      const again = [...fresh.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused);
      again?.focus({ preventScroll: true });
    }
  };

  const refresh = async () => {
    const live = document.getElementById("live");
    if (!isInUse(live)) {
      try {
        const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById("live");
        if (!fresh) throw new Error("not the console");
        exchange(live, fresh);
        document.title = page.title;
        lost.hidden = true;
      } catch {
        lost.hidden = false;
      }
    }
    setTimeout(refresh, EVERY_MS);
  };

  setTimeout(refresh, EVERY_MS);
})();
