// The pages of broker and ports look again every few seconds for as long as somebody is at them: a page that is left open
// doesn't keep a session alive for ever.

const EVERY = 5000;
const ATTENDED = 300_000;
let touched = Date.now();
for (const kind of ["pointerdown", "keydown", "scroll", "focus"]) {
    addEventListener(kind, () => (touched = Date.now()), { passive: true, capture: true });
}

async function look() {
    if (document.hidden || Date.now() - touched > ATTENDED || document.querySelector("dialog[open]")) return;
    const response = await fetch(location.pathname + location.search, { cache: "no-store" }).catch(() => undefined);
    if (!response?.ok || response.redirected) return;
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const place of document.querySelectorAll("[data-refresh]")) {
        const other = fresh.querySelector(`[data-refresh="${place.dataset.refresh}"]`);
        // Nothing is taken from under a finger.
        if (other && !place.contains(document.activeElement)) place.innerHTML = other.innerHTML;
    }
}

setInterval(look, EVERY);
