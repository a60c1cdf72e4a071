// What all pages need: changes through the API, the stream of events, values that follow it, relative times, dialogs.
// A page's own script imports from here.

const words = JSON.parse(document.body.dataset.words || "{}");

/** A text of the catalogue's table "script", with its {words} filled in. */
export function word(key, fill = {}) {
    let text = words[key] ?? key;
    for (const [name, value] of Object.entries(fill)) text = text.replaceAll(`{${name}}`, value);
    return text;
}

/** Asks the API; throws an Error with `message`, `code` and `field` where it refuses. */
export async function api(method, path, body) {
    const headers = { Accept: "application/json" };
    const request = { method, headers, credentials: "same-origin", cache: "no-store" };
    if (method !== "GET") {
        headers["Content-Type"] = "application/json";
        headers["X-FG-CSRF"] = document.body.dataset.csrf || "none";
        request.body = JSON.stringify(body ?? {});
    }
    let response;
    try {
        response = await fetch(path, request);
    } catch {
        throw Object.assign(new Error(word("unreachable")), { code: "unreachable" });
    }
    const answer = await response.json().catch(() => ({}));
    if (response.status === 401 && answer.error?.code === "login") {
        location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
    }
    if (!response.ok) {
        const error = answer.error ?? { message: `${response.status} ${response.statusText}`, code: "failed" };
        throw Object.assign(new Error(error.message), { code: error.code, field: error.field });
    }
    return answer;
}

/** As `api` with POST, for what takes a while: `step` gets each piece of progress as it comes. `signal` calls it off. */
export async function steps(path, body, step, signal) {
    const headers = {
        Accept: "application/x-ndjson",
        "Content-Type": "application/json",
        "X-FG-CSRF": document.body.dataset.csrf || "none",
    };
    const refused = (error) => Object.assign(new Error(error.message), { code: error.code, field: error.field });
    let reader;
    let rest = "";
    let last;
    const take = (line) => {
        if (!line) return;
        const told = JSON.parse(line);
        if ("progress" in told) step(told.progress);
        else last = told;
    };
    try {
        const request = { method: "POST", headers, body: JSON.stringify(body ?? {}), signal };
        const response = await fetch(path, { ...request, credentials: "same-origin", cache: "no-store" });
        if (!response.ok) {
            const answer = await response.json().catch(() => ({}));
            last = { error: answer.error ?? { message: `${response.status} ${response.statusText}` } };
        } else {
            reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
            for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
                const lines = (rest + piece.value).split("\n");
                rest = lines.pop();
                lines.forEach(take);
            }
            take(rest);
        }
    } catch (failure) {
        if (failure.name === "AbortError") throw failure;
        throw refused({ message: word("unreachable"), code: "unreachable" });
    }
    if (!last) throw refused({ message: word("unreachable"), code: "unreachable" });
    if (last.error) throw refused(last.error);
    return last.answer;
}

/**
 * Shows in `place` that something takes a while: what is done, for how long already, and how long it takes at most; a
 * button stops it. `signal` is for `steps`.
 */
export function patience(place, what) {
    const calledOff = new AbortController();
    const made = (name, className = "") => Object.assign(document.createElement(name), { className });
    const [said, bar, time, stop] = [made("p"), made("progress"), made("small", "hint"), made("button")];
    const begun = performance.now();
    let most = 0;
    const show = () => {
        const seconds = Math.floor((performance.now() - begun) / 1000);
        time.textContent = most ? word("wait_of", { seconds, most }) : word("wait_so_far", { seconds });
        if (most) [bar.max, bar.value] = [most, Math.min(seconds, most)];
    };
    said.textContent = what;
    bar.setAttribute("aria-label", what);
    // Whoever listens hears once how long it takes, and not each second.
    time.setAttribute("aria-hidden", "true");
    [stop.type, stop.textContent, stop.dataset.stop] = ["button", word("wait_stop"), ""];
    stop.onclick = () => calledOff.abort();
    const buttons = made("p", "buttons");
    buttons.append(stop);
    place.replaceChildren(said, bar, time, buttons);
    show();
    const timer = setInterval(show, 1000);
    return {
        signal: calledOff.signal,
        say: (words) => (said.textContent = words),
        atMost(seconds) {
            most = seconds;
            said.textContent = `${what} ${word("wait_most", { most })}`;
            show();
        },
        end: () => clearInterval(timer),
    };
}

/** Says something for a few seconds. */
export function toast(message) {
    const place = document.querySelector("[data-toast]");
    place.textContent = message;
    place.hidden = false;
    clearTimeout(toast.timer);
    toast.timer = setTimeout(() => (place.hidden = true), 6000);
}

/** Asks before something is done; with `typed` that word must be typed. Resolves to true or false. */
export function confirm(message, typed) {
    const dialog = document.getElementById("confirm");
    const field = dialog.querySelector("[data-confirm-typed]");
    const input = document.getElementById("confirm-word");
    const yes = dialog.querySelector('button[value="yes"]');
    document.getElementById("confirm-text").textContent = message;
    field.hidden = !typed;
    field.querySelector("label").textContent = typed ? word("type_to_confirm", { word: typed }) : "";
    input.value = "";
    const judge = () => (yes.disabled = Boolean(typed) && input.value !== typed);
    input.oninput = judge;
    judge();
    dialog.returnValue = "no";
    dialog.showModal();
    return new Promise((resolve) => {
        dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    });
}

// On a narrow screen the menu scrolls: where one is can be seen.
document.querySelector("header nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

const listeners = {};
/** Has `listener` called with the data of each event of that kind: "readings", "stale", "status", "skipped". */
export function on(kind, listener) {
    (listeners[kind] ??= []).push(listener);
    if (source) source.addEventListener(kind, (event) => listener(JSON.parse(event.data)));
}

/** Where this very page is at another address of the gateway: `{ port, address }`, an address that is every interface being null. */
export function elsewhere({ port, address }) {
    const host = address === null ? location.hostname : address.includes(":") ? `[${address}]` : address;
    const there = new URL(location.pathname + location.search, location.href);
    [there.protocol, there.hostname, there.port] = ["https:", host, port];
    return there;
}

let source;
function connect(path) {
    const state = document.querySelector("[data-link]");
    source = new EventSource(path);
    // The address that this page came from is closed for good: there is no use in coming back.
    source.addEventListener("moved", (event) => {
        source.close();
        const there = elsewhere(JSON.parse(event.data));
        const link = document.createElement("a");
        [link.href, link.textContent] = [there.href, `${there.origin}/`];
        link.dataset.moved = "";
        state.replaceChildren(`${word("moved")} `, link);
        state.hidden = false;
        document.dispatchEvent(new CustomEvent("moved"));
    });
    source.onopen = () => (state.hidden = true);
    source.onerror = () => {
        state.textContent = word("offline");
        state.hidden = false;
        // Refused for good, such as after the session's end: the browser doesn't come back by itself.
        if (source.readyState === EventSource.CLOSED) {
            setTimeout(() => {
                api("GET", "/api/v1/session").then(() => connect(path), () => {});
            }, 5000);
        }
    };
    for (const [kind, list] of Object.entries(listeners)) {
        for (const listener of list) source.addEventListener(kind, (event) => listener(JSON.parse(event.data)));
    }
}

/** The value at "a.0.b" of an object. */
export function at(object, path) {
    return path.split(".").reduce((found, key) => found?.[key], object);
}

on("readings", ({ points }) => {
    for (const { device, point, value, quality, time } of points) {
        for (const place of document.querySelectorAll(`[data-live="${CSS.escape(`${device}/${point}`)}"]`)) {
            place.textContent = value === null ? "–" : String(value);
            place.dataset.quality = quality;
            place.closest("[data-device]")?.classList.remove("stale");
            const when = place.closest("[data-device]")?.querySelector("[data-at]");
            if (when) when.dataset.at = time;
        }
    }
});

// Where nothing was known of a device when the page was made, its first reading has the page made anew; not while somebody
// types, and not more often than one can read.
on("readings", ({ points }) => {
    const awaited = ({ device }) => document.querySelector(`[data-awaits][data-device="${CSS.escape(device)}"]`);
    const isRead = performance.now() < 2000 || document.activeElement?.closest("form");
    if (!isRead && points.some(awaited)) location.reload();
});

on("stale", ({ devices }) => {
    for (const device of devices) {
        for (const row of document.querySelectorAll(`[data-device="${CSS.escape(device)}"]`)) row.classList.add("stale");
    }
});

on("skipped", () => toast(word("skipped")));

on("status", (status) => {
    for (const place of document.querySelectorAll("[data-status]")) {
        const value = at(status, place.dataset.status);
        if (value === undefined) continue;
        place.textContent = value === null ? "–" : String(value);
        if (place.dataset.good) {
            place.classList.toggle("good", value === place.dataset.good);
            place.classList.toggle("bad", value !== place.dataset.good);
        }
    }
    const list = document.querySelector("[data-problems]");
    if (!list) return;
    list.replaceChildren(
        ...status.problems.map((problem) => {
            const item = document.createElement("li");
            item.textContent = problem;
            return item;
        }),
    );
    const sentence = document.querySelector("[data-state]");
    const count = status.problems.length;
    sentence.textContent =
        count === 0 ? word("well") : count === 1 ? word("one_problem") : word("problems", { count });
    sentence.className = `sentence ${count === 0 ? "good" : "bad"}`;
});

/** How long ago that was. */
export function ago(time) {
    const seconds = Math.max(0, Math.round((Date.now() - new Date(time)) / 1000));
    if (seconds < 120) return word("seconds_ago", { count: seconds });
    if (seconds < 7200) return word("minutes_ago", { count: Math.floor(seconds / 60) });
    if (seconds < 172800) return word("hours_ago", { count: Math.floor(seconds / 3600) });
    return word("days_ago", { count: Math.floor(seconds / 86400) });
}

function tick() {
    for (const place of document.querySelectorAll("[data-at]")) {
        if (place.dataset.at) place.textContent = ago(place.dataset.at);
    }
}

/** The fields of a form as an object: numbers and checkboxes as what they are, empty optional fields left out. */
export function fields(form) {
    const body = {};
    for (const field of form.elements) {
        if (!field.name || field.disabled || (field.type === "radio" && !field.checked)) continue;
        if (field.type === "checkbox") body[field.name] = field.checked;
        else if (field.value === "" && !field.required) continue;
        else body[field.name] = field.type === "number" ? field.valueAsNumber : field.value;
    }
    return body;
}

/** Says at a field of a form, or above it, what is wrong; without `error` takes back what was said before. */
export function tell(form, error) {
    for (const field of form.querySelectorAll("[aria-invalid]")) {
        field.removeAttribute("aria-invalid");
        field.removeAttribute("aria-errormessage");
    }
    for (const old of form.querySelectorAll(".field-error")) old.remove();
    const place = form.querySelector("[data-error]");
    if (place) place.hidden = true;
    if (!error) return;
    const field = error.field && form.elements.namedItem(error.field);
    if (field instanceof HTMLElement) {
        const message = document.createElement("span");
        message.className = "field-error";
        message.id = `${field.id}-error`;
        message.setAttribute("role", "alert");
        message.textContent = error.message;
        field.after(message);
        field.setAttribute("aria-invalid", "true");
        field.setAttribute("aria-errormessage", message.id);
        field.focus();
    } else if (place) {
        place.textContent = error.message;
        place.hidden = false;
    } else {
        toast(word("failed", { message: error.message }));
    }
}

/**
 * Does what `data-post` (or `data-put`, `data-delete`) of a form or button says. Before, `data-confirm` is asked, and
 * `data-confirm-word` must be typed. After it `data-then` is where to go, "reload" being this page; and whoever listens
 * to the event "done" of the element gets the answer.
 */
async function perform(element) {
    const { post, put, delete: remove, confirm: question, confirmWord, then } = element.dataset;
    if (question && !(await confirm(question, confirmWord))) return;
    const isForm = element instanceof HTMLFormElement;
    const buttons = isForm ? element.querySelectorAll("button") : [element];
    for (const button of buttons) button.disabled = true;
    try {
        const method = post ? "POST" : put ? "PUT" : "DELETE";
        const answer = await api(method, post ?? put ?? remove, isForm ? fields(element) : {});
        if (isForm) tell(element);
        element.dispatchEvent(new CustomEvent("done", { bubbles: true, detail: answer }));
        if (then === "reload") location.reload();
        else if (then) location.assign(then);
    } catch (error) {
        if (isForm) tell(element, error);
        else toast(word("failed", { message: error.message }));
    } finally {
        for (const button of buttons) button.disabled = false;
    }
}

document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.post || form.dataset.put) {
        event.preventDefault();
        perform(form);
    }
});

document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-post], button[data-put], button[data-delete]");
    if (button) perform(button);
    if (event.target.closest("[data-theme-switch]")) {
        const root = document.documentElement;
        const dark = root.dataset.theme
            ? root.dataset.theme === "dark"
            : matchMedia("(prefers-color-scheme: dark)").matches;
        root.dataset.theme = dark ? "light" : "dark";
        document.cookie = `theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=strict`;
    }
});

// A label's picture leads here with the claim code behind the #, which no request carries.
const code = new URLSearchParams(location.hash.slice(1)).get("code");
const place = document.getElementById("code");
if (code && place) {
    place.value = code;
    history.replaceState(null, "", location.pathname);
}

setInterval(tick, 1000);
tick();
if (document.body.dataset.liveEvents) connect(document.body.dataset.liveEvents);
