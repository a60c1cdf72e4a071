// The bar of a change of the config that goes back unless somebody confirms it, on every page.

import { api, at, elsewhere as placeOf, on, toast, word } from "./app.js";

const bar = document.querySelector("[data-pending]");
const words = bar.querySelector("[data-pending-words]");
const left = bar.querySelector("[data-pending-left]");
const keep = bar.querySelector("[data-keep]");
const elsewhere = bar.querySelector("[data-elsewhere]");
let deadline = null;
/** What this page did about it itself: then it says so once. */
let own = null;

async function look() {
    let pending;
    try {
        ({ pending } = await api("GET", "/api/v1/config/pending"));
    } catch {
        // Asked again with the next state.
        return;
    }
    show(pending);
}

function show(pending) {
    if (pending) {
        deadline = Date.now() + pending.seconds_left * 1000;
        const said = word("pending", { who: pending.who });
        if (words.textContent !== said) words.textContent = said;
        bar.hidden = false;
        lead(pending);
        count();
    } else if (deadline !== null) {
        const over = Date.now() > deadline - 1500;
        deadline = null;
        bar.hidden = true;
        toast(own ?? (over ? word("pending_back") : word("pending_over")));
        own = null;
        document.dispatchEvent(new CustomEvent("settled"));
    }
}

/** Whoever would be locked out can't keep it: a link leads to where that can be done. */
function lead({ can_confirm: here, confirm_at: at }) {
    if (!keep) return;
    keep.hidden = here === false;
    elsewhere.hidden = here !== false;
    const link = elsewhere.querySelector("[data-there]");
    link.hidden = !at;
    if (!at) return;
    const there = placeOf(at);
    link.href = there.href;
    link.textContent = `${there.origin}/`;
}

function count() {
    if (deadline === null) return;
    const seconds = Math.max(0, Math.round((deadline - Date.now()) / 1000));
    left.textContent = word("pending_left", { count: seconds });
    // The state tells it too, but not to whoever isn't connected just now.
    if (seconds === 0) look();
}

async function settle(path, said) {
    const buttons = bar.querySelectorAll("button");
    for (const button of buttons) button.disabled = true;
    try {
        await api("POST", path);
        own = said;
        await look();
    } catch (error) {
        toast(word("failed", { message: error.message }));
        await look();
    } finally {
        for (const button of buttons) button.disabled = false;
    }
}

keep?.addEventListener("click", () => settle("/api/v1/config/confirm", word("pending_kept")));
bar.querySelector("[data-put-back]")?.addEventListener("click", () => settle("/api/v1/config/revert", word("pending_back")));

on("status", (status) => {
    if (Boolean(at(status, "config.pending")) !== (deadline !== null)) look();
});
// The change is settled, and this address of the page is closed: nothing can be done about it here any more.
document.addEventListener("moved", () => {
    deadline = null;
    bar.hidden = true;
});
setInterval(count, 1000);
look();
