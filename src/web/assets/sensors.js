// One sensor's page: what became of bytes that somebody tried, and what it says when it is asked out of turn.

import { patience, steps, word } from "./app.js";

const KINDS = {
    frame: () => word("try_frame"),
    no_value: () => word("try_no_value"),
    bad: () => word("try_bad"),
    skipped: () => word("try_skipped"),
};

const QUALITIES = {
    invalid: () => word("quality_invalid"),
    out_of_range: () => word("quality_out_of_range"),
    overrun: () => word("quality_overrun"),
};

function element(name, text, className = "") {
    const made = document.createElement(name);
    made.textContent = text;
    made.className = className;
    return made;
}

function values(all) {
    const list = document.createElement("dl");
    for (const { point, value, unit, symbol, quality } of all) {
        const doubt = quality === "good" ? "" : ` (${QUALITIES[quality]?.() ?? quality})`;
        const shown = `${value === null ? "–" : value} ${symbol ?? unit ?? ""}${doubt}`;
        list.append(element("dt", point), element("dd", shown));
    }
    return list;
}

function piece({ kind, bytes, error, values: all }) {
    const item = document.createElement("li");
    item.append(element("strong", KINDS[kind](), kind === "frame" ? "good" : "bad"));
    if (error) item.append(element("p", error));
    if (all) item.append(values(all));
    item.append(element("small", bytes.replace(/(..)(?=.)/g, "$1 ")));
    return item;
}

document.querySelector("[data-try]")?.addEventListener("done", ({ detail }) => {
    const place = document.querySelector("[data-tried]");
    const list = document.createElement("ol");
    list.append(...detail.pieces.map(piece));
    const more = detail.count - detail.pieces.length;
    place.replaceChildren(list);
    if (detail.count === 0) place.replaceChildren(element("p", word("try_nothing")));
    if (more > 0) place.append(element("p", word("try_more", { count: more }), "hint"));
});

const poll = document.querySelector("[data-poll]");
if (poll) {
    const place = document.querySelector("[data-polled]");
    poll.onclick = async () => {
        poll.disabled = true;
        const wait = patience(place, word("poll_wait"));
        try {
            const told = ({ at_most_s: most }) => most && wait.atMost(most);
            const { took_ms: took, values: all, error } = await steps(poll.dataset.poll, {}, told, wait.signal);
            const said = error ? word("poll_failed", { ms: took }) : word("poll_done", { ms: took });
            place.replaceChildren(element("p", said, error ? "bad" : "good"));
            if (error) place.append(element("p", error, "bad"));
            place.append(values(all));
        } catch (error) {
            const calledOff = error.name === "AbortError";
            place.replaceChildren(calledOff ? element("p", word("called_off")) : element("p", error.message, "bad"));
        }
        wait.end();
        poll.disabled = false;
    };
}
