// Follows a list that the server draws: while the box is ticked, the list is fetched anew every two seconds, as long as
// somebody looks.

const box = document.querySelector("[data-follow-switch]");
const place = document.querySelector("[data-follow]");

async function refresh() {
    const response = await fetch(location.href, { credentials: "same-origin", cache: "no-store" });
    if (!response.ok || response.redirected) throw new Error(String(response.status));
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.querySelector("[data-follow]");
    if (fresh && fresh.innerHTML !== place.innerHTML) place.replaceChildren(...fresh.childNodes);
}

async function turn() {
    if (box.checked && !document.hidden) {
        // A gateway that is away is told by the head of the page.
        await refresh().catch(() => {});
    }
    setTimeout(turn, 2000);
}

if (box && place) {
    box.closest("[hidden]")?.removeAttribute("hidden");
    setTimeout(turn, 2000);
}
