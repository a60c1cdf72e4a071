// One line: the scan that is under way, which the server draws, is followed; what passes over the line is shown as it
// passes, joined to frames, filtered, held and saved.

import { word } from "./app.js";

// The scan.
const scan = document.querySelector("[data-scan]");
const form = document.querySelector("[data-scan-form]");

async function refresh() {
    const response = await fetch(location.href, { credentials: "same-origin", cache: "no-store" });
    if (!response.ok || response.redirected) throw new Error(String(response.status));
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.querySelector("[data-scan]");
    // What somebody has opened stays open.
    if (fresh && fresh.innerHTML !== scan.dataset.drawn) {
        const open = [...scan.querySelectorAll("details")].map((details) => details.open);
        scan.dataset.drawn = fresh.innerHTML;
        scan.replaceChildren(...fresh.childNodes);
        scan.querySelectorAll("details").forEach((details, at) => (details.open = Boolean(open[at])));
    }
}

let following = false;
async function follow() {
    if (following) return;
    following = true;
    while (scan.querySelector("[data-running]")) {
        await new Promise((resolve) => setTimeout(resolve, 1000));
        // A gateway that is away is told by the head of the page.
        if (!document.hidden) await refresh().catch(() => {});
    }
    following = false;
}

if (scan) {
    follow();
    const begun = () => refresh().catch(() => {}).then(() => {
        scan.scrollIntoView({ block: "nearest" });
        follow();
    });
    form.addEventListener("done", begun);
    scan.addEventListener("done", () => refresh().catch(() => {}));
    const kind = form.elements.namedItem("kind");
    const judge = () => {
        for (const field of form.querySelectorAll("[data-kinds]")) {
            const fits = field.dataset.kinds.split(" ").includes(kind.value);
            field.hidden = !fits;
            for (const input of field.querySelectorAll("input")) input.disabled = !fits;
        }
    };
    kind.addEventListener("change", judge);
    judge();
}

// The trace.
/** Pieces that are kept to be filtered and saved; and rows that are shown of them. */
const KEPT_MAX = 5000;
const ROWS_MAX = 400;
/** What comes the same way within so many milliseconds, up to so many bytes, is one frame. */
const JOIN_MS = 30;
const JOIN_BYTES_MAX = 256;

const trace = document.querySelector("[data-trace]");
if (trace) {
    const find = (name) => trace.querySelector(`[data-trace-${name}]`);
    const [start, pause, save, clear] = ["start", "pause", "save", "clear"].map(find);
    const [direction, filter, state, list] = ["direction", "filter", "state", "pieces"].map(find);
    let source;
    let kept = [];
    let lost = 0;
    let isPaused = false;

    const bytesOf = (hex) => hex.match(/../g) ?? [];
    const textOf = (bytes) =>
        bytes
            .map((byte) => {
                const code = Number.parseInt(byte, 16);
                return code >= 32 && code < 127 ? String.fromCharCode(code) : code === 10 ? "␊" : code === 13 ? "␍" : "·";
            })
            .join("");
    const wayOf = (piece) => (piece.direction === "out" ? word("trace_out") : word("trace_in"));
    const timeOf = (piece) => piece.time.split("T")[1]?.replace("Z", "") ?? piece.time;

    /** Whether a piece is to be seen: by its way, and by text or digits in it. */
    function isWanted(piece) {
        if (piece.event) return true;
        if (direction.value && piece.direction !== direction.value) return false;
        const wanted = filter.value.toLowerCase();
        if (!wanted) return true;
        const digits = wanted.replace(/[\s,:]|0x/g, "");
        return piece.text.toLowerCase().includes(wanted) || (/^[0-9a-f]+$/.test(digits) && piece.bytes.join("").includes(digits));
    }

    function row(piece) {
        const item = document.createElement("li");
        const head = document.createElement("p");
        if (piece.event) {
            head.textContent = `${timeOf(piece)} · ${piece.event === "open" ? word("trace_open") : word("trace_down", { error: piece.error ?? "" })}`;
            item.append(head);
            return item;
        }
        item.className = piece.direction;
        head.textContent = `${timeOf(piece)} · ${wayOf(piece)} · ${word("topic_bytes", { count: piece.bytes.length })}`;
        const hex = document.createElement("code");
        hex.textContent = piece.bytes.join(" ");
        const text = document.createElement("code");
        text.className = "text";
        text.textContent = piece.text;
        item.append(head, hex, text);
        return item;
    }

    /** Takes a piece; what continues the one before is joined to it. */
    function take({ time, direction: way, bytes, event, error, lost: out }) {
        lost += out ?? 0;
        const last = kept.at(-1);
        if (bytes !== undefined) {
            const more = bytesOf(bytes);
            const at = new Date(time).getTime();
            if (last?.direction === way && at - last.at < JOIN_MS && last.bytes.length + more.length <= JOIN_BYTES_MAX) {
                last.bytes.push(...more);
                last.text = textOf(last.bytes);
                last.at = at;
                last.isShown = false;
                return;
            }
            kept.push({ time, at, direction: way, bytes: more, text: textOf(more) });
        } else {
            kept.push({ time, event, error });
        }
        if (kept.length > KEPT_MAX) kept.splice(0, kept.length - KEPT_MAX);
    }

    function tell() {
        const parts = [word("trace_pieces", { count: kept.length })];
        if (lost) parts.push(word("trace_lost", { count: lost }));
        if (isPaused) parts.push(word("trace_paused"));
        state.textContent = parts.join(" · ");
    }

    /** Shows what is new, or all of it anew. */
    function paint(anew) {
        tell();
        if (isPaused) return;
        const isAtEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 40;
        if (anew) {
            list.replaceChildren(...kept.filter(isWanted).slice(-ROWS_MAX).map((piece) => (piece.item = row(piece))));
            for (const piece of kept) piece.isShown = true;
        } else {
            // Only the last ones can be new, or longer than they were.
            let from = kept.length;
            while (from > 0 && !kept[from - 1].isShown) from--;
            for (const piece of kept.slice(from)) {
                piece.isShown = true;
                piece.item?.remove();
                if (isWanted(piece)) list.append((piece.item = row(piece)));
            }
            while (list.children.length > ROWS_MAX) list.firstElementChild.remove();
        }
        list.hidden = list.children.length === 0;
        if (isAtEnd || anew) list.scrollTop = list.scrollHeight;
    }

    function stop(words) {
        source?.close();
        source = undefined;
        start.textContent = word("trace_start");
        start.setAttribute("aria-pressed", "false");
        state.textContent = words;
    }

    start.onclick = () => {
        if (source) {
            stop(word("trace_ended"));
            return;
        }
        source = new EventSource(trace.dataset.trace);
        start.textContent = word("trace_stop");
        start.setAttribute("aria-pressed", "true");
        for (const button of [pause, save, clear]) button.disabled = false;
        state.textContent = word("trace_waits");
        source.addEventListener("pieces", ({ data }) => {
            for (const piece of JSON.parse(data)) take(piece);
            paint(false);
        });
        source.onerror = () => {
            // Too many look on, or the session is over: the browser doesn't come back by itself.
            if (source?.readyState === EventSource.CLOSED) stop(word("trace_refused"));
        };
    };
    pause.onclick = () => {
        isPaused = !isPaused;
        pause.setAttribute("aria-pressed", String(isPaused));
        pause.textContent = isPaused ? word("trace_go_on") : word("trace_hold");
        paint(!isPaused);
    };
    clear.onclick = () => {
        kept = [];
        lost = 0;
        paint(true);
        list.replaceChildren();
    };
    for (const field of [direction, filter]) field.addEventListener("input", () => paint(true));
    save.onclick = () => {
        const lines = kept.map((piece) =>
            piece.event
                ? `${piece.time} ${piece.event} ${piece.error ?? ""}`.trimEnd()
                : `${piece.time} ${piece.direction === "out" ? ">" : "<"} ${piece.bytes.join(" ")}  ${piece.text}`,
        );
        const link = document.createElement("a");
        link.href = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/plain" }));
        link.download = `${trace.dataset.name}-trace.txt`;
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    };
}
