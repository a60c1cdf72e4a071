// The config's pages: what a form or the text has changed is checked, tried and applied, and what came of it is told.

import { api, confirm, steps, word } from "./app.js";

export const SAID = "fg-config-said";

export function element(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
}

export function list(title, lines) {
    const items = element("ul");
    items.append(...lines.map((line) => (line instanceof Node ? line : element("li", line))));
    return [element("h3", title), items];
}

/** A text of differences, with its added and removed lines marked. */
export function diffLines(text) {
    return text.split("\n").map((line) => {
        const kind = /^(\+\+\+|---)/.test(line) ? "" : line[0] === "+" ? "good" : line[0] === "-" ? "bad" : "";
        return element("span", `${line}\n`, kind);
    });
}

function changeInWords({ path, effect, secret, old, new: now }) {
    const side = (value) => (value === null || value === undefined ? "–" : JSON.stringify(value));
    return `${path}: ${secret ? word("config_leave") : `${side(old)} → ${side(now)}`} (${effect})`;
}

const titleOf = ({ what, name }) => [what, name].filter(Boolean).join(" ");

/** What came of one try, in a list's item. */
function outcome(item, { what, name, state, words }) {
    const states = {
        good: word("config_good"),
        doubtful: word("config_doubtful"),
        wrong: word("config_wrong"),
        skipped: word("config_skipped"),
    };
    const colour = state === "good" ? "good" : state === "wrong" ? "bad" : "";
    item.replaceChildren(`${titleOf({ what, name })}: `, element("strong", states[state] ?? state, colour), ` – ${words}`);
    return item;
}

export function tried(probe) {
    if (!probe?.length) return [element("p", word("config_nothing_tried"))];
    return list(word("config_tried"), probe.map((found) => outcome(element("li"), found)));
}

/** Shows how a try goes on: each port and each upstream from waiting to what came of it. */
function progress(place) {
    const items = new Map();
    const [title, all] = list(word("config_wait"), []);
    all.dataset.trying = "";
    say(place, [title, all]);
    return (piece) => {
        const key = titleOf(piece);
        if (piece.step === "apply") title.textContent = word("config_taking");
        if (!key) return;
        if (!items.has(key)) {
            items.set(key, element("li"));
            all.append(items.get(key));
        }
        const item = items.get(key);
        const { step, bytes, readings } = piece;
        if (piece.state) outcome(item, piece);
        else if (step === "came") item.textContent = `${key}: ${word("config_came", { bytes, readings })}`;
        else item.textContent = `${key}: ${step === "begun" ? word("config_begun") : word("config_waiting")}`;
    };
}

/** What a change would do. */
export function wouldDo({ changes, diff, needs_confirmation: mustConfirm }) {
    const parts = [];
    if (changes?.length) parts.push(...list(word("config_changes"), changes.map(changeInWords)));
    else parts.push(element("p", word("config_same")));
    if (mustConfirm) parts.push(element("p", word("config_must_confirm"), "notice"));
    if (diff) {
        const lines = element("pre", undefined, "text diff");
        lines.tabIndex = 0;
        lines.append(...diffLines(diff));
        parts.push(element("h3", word("config_lines")), lines);
    }
    return parts;
}

/** What came of a change that was made. */
function came({ version, reopened, next_start: nextStart, disconnected, probe }) {
    const parts = [element("p", word("config_applied", { version: version ?? "–" }), "good sentence")];
    if (reopened?.length) parts.push(element("p", word("config_reopened", { names: reopened.join(", ") })));
    if (nextStart?.length) parts.push(element("p", word("config_next_start", { names: nextStart.join(", ") })));
    if (disconnected) parts.push(element("p", word("config_disconnected", { count: disconnected })));
    if (probe?.length) parts.push(...tried(probe));
    return parts;
}

export function say(place, parts) {
    place.replaceChildren(...parts);
    place.hidden = parts.length === 0;
}

/** A form or the text: `proposal()` is what it would change, `null` being nothing; `mark(mistakes)` puts mistakes at
 * their places and returns those that have none; `prefix` cuts what the server names in full. */
function desk(root, { proposal, mark, then }) {
    const result = root.querySelector("[data-result]");
    const error = root.querySelector("[data-error]");
    const buttons = [...root.querySelectorAll("button")];
    let busy = false;

    async function act(what, more = {}) {
        if (busy) return;
        let body;
        mark([]);
        if (error) error.hidden = true;
        try {
            body = proposal(more);
        } catch (wrong) {
            tell(wrong.message);
            return;
        }
        if (!body) {
            say(result, [element("p", word("config_nothing"))]);
            return;
        }
        busy = true;
        for (const button of buttons) button.disabled = true;
        const told = what === "look" ? undefined : progress(result);
        try {
            const note = root.querySelector("[data-note]")?.value;
            const how = what === "apply" || what === "revert" ? { note: note || undefined, force: more.force } : {};
            const [path, all] = [`/api/v1/config/${what}`, { ...body, ...how }];
            const answer = what === "probe" || what === "apply" ? await steps(path, all, told) : await api("POST", path, all);
            show(what, answer, more);
        } catch (failure) {
            say(result, []);
            tell(failure.message);
        } finally {
            busy = false;
            for (const button of buttons) button.disabled = false;
        }
    }

    function tell(message) {
        if (!error) {
            say(result, [element("p", message, "bad")]);
            return;
        }
        error.textContent = message;
        error.hidden = false;
        error.scrollIntoView({ block: "nearest" });
    }

    function show(what, answer, more) {
        if (answer.stale) {
            const again = element("button", word("config_load_again"));
            again.type = "button";
            again.onclick = () => location.reload();
            say(result, [element("p", word("config_stale"), "bad"), again]);
        } else if (answer.outcome === "refused") {
            const rest = mark(answer.mistakes ?? []);
            const parts = [element("p", answer.error ?? word("config_refused"), "bad")];
            if (rest.length) parts.push(...list(word("config_mistakes"), rest));
            say(result, parts);
        } else if (answer.outcome === "probe-failed") {
            const anyway = element("button", word("config_anyway"));
            anyway.type = "button";
            anyway.onclick = async () => {
                if (await confirm(word("config_anyway_ask"))) act(what, { ...more, force: true });
            };
            say(result, [element("p", word("config_refused"), "bad"), ...tried(answer.probe), anyway]);
        } else if (answer.outcome === "applied") {
            // The page is made anew from what counts now, and says then what came of it.
            sessionStorage.setItem(SAID, JSON.stringify(answer));
            if (then) location.assign(then(more));
            else location.reload();
        } else {
            const parts = answer.probe ? tried(answer.probe) : [element("p", word("config_right"), "good")];
            say(result, [...parts, ...wouldDo(answer)]);
        }
    }

    root.addEventListener("submit", (event) => {
        event.preventDefault();
        act("apply");
    });
    for (const button of root.querySelectorAll("[data-act]")) button.onclick = () => act(button.dataset.act);
    return { act };
}

// What came of the change that the page was made anew for.
const said = sessionStorage.getItem(SAID);
const place = document.querySelector("[data-said]");
if (said && place) {
    sessionStorage.removeItem(SAID);
    say(place, came(JSON.parse(said)));
}

// The form.
const form = document.querySelector("[data-config-form]");
if (form) {
    const inputs = [...form.querySelectorAll("[data-path]")];
    const { base, addsTo, place: here } = form.dataset;
    const newName = () => inputs.find(({ dataset }) => dataset.path === `${addsTo}.*.name`).value.trim();
    const real = (path) => (addsTo ? path.replace(`${addsTo}.*`, `${addsTo}.${newName()}`) : path);
    const kind = form.querySelector("[data-kind-path]");
    const kindPath = kind?.dataset.kindPath;
    const isChanged = (input) => input.value !== input.dataset.was || input.dataset.path === kindPath;
    const editOf = (input) => {
        const path = real(input.dataset.path);
        if (input.value === "") return { path, value: null };
        return input.hasAttribute("data-text") ? { path, value: input.value } : { path, text: input.value };
    };

    // A page that has found something out leads here with it: `with.baud=9600`. Nothing counts before it is applied.
    for (const [key, value] of new URLSearchParams(location.search)) {
        const name = key.startsWith("with.") && `${addsTo ? `${addsTo}.*` : here}.${key.slice(5)}`;
        const input = inputs.find(({ dataset }) => dataset.path === name);
        if (!input || input.type === "checkbox") continue;
        input.value = value;
        input.closest("details")?.setAttribute("open", "");
        input.classList.add("filled");
        document.querySelector("[data-filled]")?.removeAttribute("hidden");
    }

    const proposal = ({ remove }) => {
        if (remove) return { base, edits: [{ path: remove, value: null }] };
        let changed = inputs.filter(isChanged);
        if (!changed.length) return null;
        if (!addsTo) {
            // What another kind doesn't have goes first, and the kind comes before what only that one has.
            const unfit = kind?.querySelector("[data-take-out]").checked ? [...kind.querySelectorAll("[data-unfit-path]")] : [];
            const out = unfit.map(({ dataset }) => ({ path: dataset.unfitPath, value: null, if_there: true }));
            const first = changed.filter(({ dataset }) => dataset.path === kindPath);
            const rest = changed.filter(({ dataset }) => dataset.path !== kindPath);
            return { base, edits: [...out, ...first.map(editOf), ...rest.map(editOf)] };
        }
        const name = newName();
        if (!name) throw new Error(word("config_new_name"));
        changed = changed.filter(({ dataset }) => dataset.path !== `${addsTo}.*.name`);
        return { base, edits: [{ path: `${addsTo}.${name}`, value: { name } }, ...changed.map(editOf)] };
    };

    const mark = (mistakes) => {
        for (const old of form.querySelectorAll(".field-error")) old.remove();
        for (const input of inputs) {
            input.removeAttribute("aria-invalid");
            input.removeAttribute("aria-errormessage");
        }
        let first;
        const rest = [];
        for (const { path, message, help, text } of mistakes) {
            const input = path && inputs.find(({ dataset }) => real(dataset.path) === path);
            if (!input) {
                rest.push(text ?? message);
                continue;
            }
            const told = element("span", help ? `${message}; ${help}` : message, "field-error");
            told.id = `${input.id}-error`;
            told.setAttribute("role", "alert");
            told.lang = "en";
            input.after(told);
            input.setAttribute("aria-invalid", "true");
            input.setAttribute("aria-errormessage", told.id);
            first ??= input;
        }
        first?.focus();
        return rest;
    };

    const above = () => {
        const names = here.split(".");
        return `/config?path=${encodeURIComponent(names[0])}`;
    };
    const made = () => `/config?path=${encodeURIComponent(`${addsTo}.${newName()}`)}`;
    const { act } = desk(form, {
        proposal,
        mark,
        then: ({ remove }) => (remove ? above() : addsTo ? made() : `/config?path=${encodeURIComponent(here)}`),
    });
    for (const select of form.querySelectorAll("[data-kind]")) {
        select.onchange = async () => {
            const { path, was } = select.dataset;
            if (addsTo || !select.value) return;
            const others = inputs.some((input) => input !== select && isChanged(input));
            if (others && !(await confirm(word("config_kind_ask")))) {
                select.value = was;
                return;
            }
            const query = new URLSearchParams({ path: here, kind: `${path}=${select.value}` });
            location.assign(`/config?${query}`);
        };
    }
    const button = form.querySelector("[data-remove]");
    if (button) {
        button.onclick = async () => {
            const { remove } = button.dataset;
            const name = remove.split(".").slice(1).join(".");
            if (await confirm(word("config_remove_ask", { name: remove }), name)) act("apply", { remove });
        };
    }
    document.addEventListener("settled", () => {
        if (!inputs.some(isChanged)) location.reload();
    });
}

// The text.
const text = document.querySelector("[data-config-text]");
if (text) {
    const areas = [...text.querySelectorAll("textarea")];
    const initial = areas.map((area) => area.value);
    const wrong = new Map();

    const number = (area) => {
        const numbers = area.parentElement.querySelector("[data-numbers]");
        const lines = area.value.split("\n").length;
        const bad = wrong.get(area) ?? new Set();
        const key = `${lines}/${[...bad]}`;
        if (numbers.dataset.key !== key) {
            numbers.dataset.key = key;
            numbers.replaceChildren(
                ...Array.from({ length: lines }, (_, at) => element("span", `${at + 1}\n`, bad.has(at + 1) ? "bad-line" : "")),
            );
        }
        numbers.scrollTop = area.scrollTop;
    };
    for (const area of areas) {
        area.addEventListener("input", () => number(area));
        area.addEventListener("scroll", () => number(area));
        number(area);
    }

    const go = (area, line, column, length) => {
        const before = area.value.split("\n").slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
        const start = before + Math.max(0, (column ?? 1) - 1);
        area.focus();
        area.setSelectionRange(start, start + (length ?? 1));
        area.scrollTop = (line - 3) * Number.parseFloat(getComputedStyle(area).lineHeight);
        number(area);
    };

    const mark = (mistakes) => {
        wrong.clear();
        const rest = mistakes.map(({ file, line, column, length, message, help, text: whole }) => {
            const area = areas.find(({ dataset }) => dataset.file === file);
            const item = element("li");
            item.lang = "en";
            if (!area || !line) {
                item.textContent = whole ?? message;
                return item;
            }
            if (!wrong.has(area)) wrong.set(area, new Set());
            wrong.get(area).add(line);
            const there = element("button", word("config_at_line", { line }));
            there.type = "button";
            there.onclick = () => go(area, line, column, length);
            item.append(there, ` ${help ? `${message}; ${help}` : message}`);
            return item;
        });
        for (const area of areas) {
            area.toggleAttribute("aria-invalid", false);
            if (wrong.has(area)) area.setAttribute("aria-invalid", "true");
            number(area);
        }
        return rest;
    };

    desk(text, {
        mark,
        proposal: () => {
            const files = areas.map((area) => ({ file: area.dataset.file, text: area.value }));
            return { base: text.dataset.base || undefined, files };
        },
    });
    document.addEventListener("settled", () => {
        if (areas.every((area, at) => area.value === initial[at])) location.reload();
    });
}

// The history.
for (const diff of document.querySelectorAll("[data-diff]")) diff.replaceChildren(...diffLines(diff.textContent));
const back = document.querySelector("[data-back]");
if (back) {
    const version = Number(back.dataset.back);
    const { act } = desk(back.closest("section"), {
        proposal: () => ({ version }),
        mark: (mistakes) => mistakes.map(({ text: whole, message }) => whole ?? message),
        then: () => "/config/history",
    });
    back.onclick = async () => {
        if (await confirm(word("config_back_ask", { number: version }))) act("revert");
    };
}
