// The steps from a new gateway to its first reading. What is chosen stays in this browser until the last step applies it
// as one change of the config; nothing secret is among it.

import { api, confirm, patience, steps, tell, word } from "./app.js";
import { diffLines, tried } from "./config.js";
import { test } from "./upstreams.js";

const KEPT = "fg-start";
const STEPS = ["name", "time", "port", "device", "upstream"];
/** So long a device has for its first reading before the page goes on without. */
const FIRST_MAX_MS = 20_000;

const form = document.querySelector("[data-start]");
const step = form?.dataset.start;
const draft = read();

function read() {
    try {
        return { edits: {}, fields: {}, ...JSON.parse(localStorage.getItem(KEPT)) };
    } catch {
        return { edits: {}, fields: {} };
    }
}

function keep() {
    localStorage.setItem(KEPT, JSON.stringify(draft));
}

function element(name, text, className = "") {
    const made = document.createElement(name);
    made.textContent = text;
    made.className = className;
    return made;
}

const field = (name) => form.elements.namedItem(name);
const typed = (name) => field(name).value.trim();
const wrong = (name, message) => Object.assign(new Error(message), { field: name });

/** The edits of the steps, `own` being those of this one as they are now. */
const all = (own) => STEPS.flatMap((name) => (name === step && own ? own : (draft.edits[name] ?? [])));

/** The field that a mistake at a path of the config is about. */
function fieldOf(path) {
    const key = (path ?? "").split(".").at(-1);
    const names = { unit_id: "unit", address: "path", data_bits: "frame", parity: "frame", stop_bits: "frame" };
    const own = form.querySelector(`[data-path="${CSS.escape(path ?? "")}"]`)?.name;
    const name = own ?? (key === "name" ? step : (names[key] ?? key));
    return field(name) instanceof HTMLElement ? name : undefined;
}

/** Says what is wrong with a change, at its field where it has one. Whether it is right. */
function judge(answer) {
    tell(form);
    if (answer.outcome !== "refused") return true;
    const [mistake] = answer.mistakes ?? [];
    tell(form, { message: mistake?.message ?? answer.error, field: fieldOf(mistake?.path) });
    return false;
}

/** Keys that stand in a field of their own. */
function keys() {
    const changed = [...form.querySelectorAll("[data-path]")].filter(({ value, dataset }) => value.trim() !== dataset.was);
    // A table that is nothing without its key goes with it.
    const edit = ({ value, dataset }) =>
        value.trim() ? { path: dataset.path, value: value.trim() } : { path: dataset.without ?? dataset.path, value: null };
    return changed.map(edit);
}

function chosenProfile() {
    const { value, dataset } = field("profile").selectedOptions[0];
    const tellsTime = "tellsTime" in dataset;
    return { name: value, baud: Number(dataset.baud), frame: dataset.frame, address: dataset.address, tellsTime };
}

/** A port, where there is none of that path, and the device on it. */
function device() {
    const path = typed("path");
    const profile = chosenProfile();
    if (!path && !profile.name) return [];
    if (!path) throw wrong("path", word("start_no_path"));
    if (!profile.name) throw wrong("profile", word("start_no_profile"));
    const ports = [...document.querySelectorAll("#paths option")];
    const known = ports.find(({ value }) => value === path)?.dataset.port;
    const taken = new Set(ports.map(({ dataset }) => dataset.port));
    let free = 1;
    while (taken.has(`line${free}`)) free += 1;
    const port = known ?? `line${free}`;
    const isTcp = !path.startsWith("/") && /:\d+$/.test(path);
    const edits = [];
    const set = (key, value) => edits.push({ path: `port."${port}".${key}`, value });
    if (!known) {
        edits.push({ path: `port."${port}"`, value: { name: port } });
        if (isTcp) {
            set("kind", "tcp");
            set("address", path);
        } else {
            set("path", path);
        }
    }
    const baud = typed("baud");
    if (baud && Number(baud) !== profile.baud && !isTcp) {
        if (!/^\d+$/.test(baud)) throw wrong("baud", word("start_no_baud"));
        set("baud", Number(baud));
    }
    const frame = typed("frame").toUpperCase();
    if (frame && frame !== profile.frame && !isTcp) {
        const [, bits, parity, stop] = frame.match(/^([5-8])([NEO])([12])$/) ?? [];
        if (!bits) throw wrong("frame", word("start_no_frame"));
        set("data_bits", Number(bits));
        set("parity", { N: "none", E: "even", O: "odd" }[parity]);
        set("stop_bits", Number(stop));
    }
    const name = deviceName();
    edits.push({ path: `device."${name}"`, value: { name } });
    edits.push({ path: `device."${name}".port`, value: port });
    edits.push({ path: `device."${name}".profile`, value: profile.name });
    if (profile.address === "unit_id") {
        const unit = typed("unit");
        if (!/^\d+$/.test(unit)) throw wrong("unit", word("start_no_unit"));
        edits.push({ path: `device."${name}".unit_id`, value: Number(unit) });
    }
    if (profile.tellsTime && field("gnss").checked) edits.push({ path: "time.gnss.device", value: name });
    return edits;
}

const deviceName = () => typed("device") || chosenProfile().name;

/** The keys of an upstream that are filled in. */
function upstream() {
    const name = typed("upstream");
    const host = typed("host");
    if (!host && !typed("user_name") && !typed("password")) return [];
    if (!name) throw wrong("upstream", word("config_new_name"));
    if (!host) throw wrong("host", word("start_no_host"));
    const values = { host, tls: field("tls").checked || null, user_name: typed("user_name") || null };
    const port = typed("port");
    if (port) {
        if (!/^\d+$/.test(port)) throw wrong("port", word("start_no_port"));
        values.port = Number(port);
    }
    const given = Object.entries(values).filter(([, value]) => value !== null);
    return given.map(([key, value]) => ({ path: `upstream."${name}".${key}`, value }));
}

/** What this step would change. What must not stay in the browser is handed over first, if it is `final`. */
async function edits(final) {
    if (step === "device") return device();
    if (step !== "upstream") return keys();
    const own = upstream();
    if (!own.length) return [];
    const name = typed("upstream");
    const isThere = [...document.querySelectorAll("#upstreams option")].some(({ value }) => value === name);
    if (!isThere) own.unshift({ path: `upstream."${name}"`, value: { name } });
    const password = field("password").value;
    if (password && final) {
        const kept = await api("POST", "/api/v1/upstreams/password", { name, password });
        own.push({ path: `upstream."${name}".password`, value: kept.password });
    } else if (!password) {
        // One that was handed over before is still there.
        own.push(...(draft.edits.upstream ?? []).filter(({ path }) => path === `upstream."${name}".password`));
    }
    return own;
}

/** Fields that are no secrets, for when somebody comes back to this step. */
function fields() {
    const kept = {};
    for (const input of form.elements) {
        if (!input.name || input.type === "password" || (input.type === "radio" && !input.checked)) continue;
        kept[input.name] = input.type === "checkbox" ? input.checked : input.value;
    }
    return kept;
}

function fill() {
    for (const [name, value] of Object.entries(draft.fields[step] ?? {})) {
        const input = field(name);
        if (!input) continue;
        if (input.type === "checkbox") input.checked = value;
        else input.value = value;
    }
}

async function onward() {
    tell(form);
    let own;
    try {
        own = await edits(true);
        if (own.length && !judge(await api("POST", "/api/v1/config/look", { edits: all(own) }))) return;
    } catch (error) {
        tell(form, { message: error.message, field: error.field });
        return;
    }
    draft.fields[step] = fields();
    if (own.length) draft.edits[step] = own;
    else delete draft.edits[step];
    if (step === "port" && chosenLine()) draft.fields.device = { ...draft.fields.device, path: chosenLine() };
    if (step === "device" && own.length) draft.device = deviceName();
    keep();
    location.assign(`/start?step=${form.dataset.next}`);
}

const chosenLine = () => typed("path") || form.querySelector('[name="line"]:checked')?.value || "";

/** Listens to the line that is chosen, and tells what it finds as it finds it. */
async function listen() {
    tell(form);
    const path = chosenLine();
    if (!path) {
        tell(form, { message: word("start_no_path"), field: "path" });
        return;
    }
    const place = form.querySelector("[data-heard]");
    const [go, stop] = [form.querySelector("[data-listen]"), form.querySelector("[data-stop]")];
    const calledOff = new AbortController();
    const said = element("p", word("start_listening"));
    const bar = document.createElement("progress");
    bar.setAttribute("aria-label", word("start_listening"));
    place.replaceChildren(said, bar);
    [go.disabled, stop.hidden] = [true, false];
    stop.onclick = () => calledOff.abort();
    let heard = 0;
    const took = (event) => {
        if (event.event === "progress") {
            said.textContent = word("start_left", { what: event.what, seconds: Math.ceil(event.left_s) });
            [bar.max, bar.value] = [event.total, event.done];
            return;
        }
        const found = finding(path, event);
        if (found) {
            heard += 1;
            place.append(found);
        }
    };
    const kind = field("kind").value;
    const isTcp = !path.startsWith("/") && kind === "modbus";
    const wanted = { path, kind: kind === "ask" ? "serial" : isTcp ? "modbus-tcp" : kind, ask: kind === "ask" };
    try {
        const answer = await steps("/api/v1/listen", wanted, took, calledOff.signal);
        said.textContent = heard ? word("start_heard") : word("start_heard_nothing");
        if (!answer.whole) place.append(element("p", word("start_cut"), "hint"));
    } catch (error) {
        if (error.name === "AbortError") said.textContent = word("called_off");
        else {
            said.remove();
            tell(form, { message: error.message, field: error.field === "path" ? "path" : undefined });
        }
    }
    bar.remove();
    [go.disabled, stop.hidden] = [false, true];
}

/** One thing that was found, with a way to go on with it. */
function finding(path, event) {
    const place = element("section", "", "found");
    const use = (name, chosen) => {
        const button = element("button", name ? word("start_use_profile", { name }) : word("start_use_line"));
        button.type = "button";
        button.onclick = () => {
            draft.fields.device = { ...draft.fields.device, path, ...chosen };
            draft.fields.port = fields();
            keep();
            location.assign("/start?step=device");
        };
        return button;
    };
    const buttons = element("p", "", "buttons");
    if (event.event === "best") {
        const { baud, frame, matches, bytes } = event;
        const line = { baud: String(baud), frame };
        const [first] = matches;
        place.append(element("p", word("start_best", { baud, frame, bytes })));
        if (first) place.append(element("p", word("start_match", { title: first.title, good: first.good })));
        buttons.append(...matches.slice(0, 3).map(({ profile }) => use(profile, { ...line, profile })));
        if (!first) buttons.append(use("", line));
    } else if (event.event === "profiles") {
        const { unit_id: unit, profiles, values } = event;
        const shown = Object.entries(values).map(([name, value]) => `${name} = ${value}`);
        place.append(element("p", word("start_reads", { unit, values: shown.slice(0, 6).join(", ") })));
        buttons.append(...profiles.slice(0, 3).map((profile) => use(profile, { unit: String(unit), profile })));
    } else if (event.event === "unit") {
        place.append(element("p", word("start_unit", { unit: event.unit_id, baud: event.baud ?? "TCP", answer: event.answer })));
    } else if (event.event === "failed") {
        place.append(element("p", event.error, "bad"));
    } else {
        return null;
    }
    if (buttons.children.length) place.append(buttons);
    return place;
}

/** Tries the device as the form has it: nothing is saved by it. */
async function readNow(button) {
    const place = form.querySelector("[data-heard]");
    tell(form);
    button.disabled = true;
    let wait;
    try {
        const own = device();
        if (!own.length) throw wrong("path", word("start_no_path"));
        wait = patience(place, word("start_reading"));
        const took = ({ step, at_most_s: most, bytes, readings }) => {
            if (most) wait.atMost(most);
            else if (step === "came") wait.say(word("config_came", { bytes, readings }));
        };
        const answer = await steps("/api/v1/config/probe", { edits: own }, took, wait.signal);
        place.replaceChildren();
        if (judge(answer)) place.replaceChildren(...tried(answer.probe), ...values(answer.probe));
    } catch (error) {
        if (error.name === "AbortError") place.replaceChildren(element("p", word("called_off")));
        else {
            place.replaceChildren();
            tell(form, { message: error.message, field: error.field });
        }
    }
    wait?.end();
    button.disabled = false;
}

async function testNew(button) {
    tell(form);
    button.disabled = true;
    try {
        const own = upstream();
        if (!own.length) throw wrong("host", word("start_no_host"));
        const password = field("password").value || undefined;
        const place = form.querySelector("[data-tested]");
        const answer = await test(place, { name: typed("upstream"), edits: own, password });
        if (judge(answer) && answer.state !== "good") {
            const [first] = answer.details ?? [];
            if (first?.key) tell(form, { message: first.words, field: fieldOf(first.key) });
        }
    } catch (error) {
        tell(form, { message: error.message, field: error.field });
    }
    button.disabled = false;
}

/** The values that were read, by device. */
function values(probe) {
    const lists = probe.flatMap(({ details }) => details?.devices ?? []).filter(({ values: read }) => read);
    return lists.flatMap(({ device: name, values: read, units }) => {
        const list = document.createElement("dl");
        for (const [point, value] of Object.entries(read)) {
            const shown = `${value ?? "–"} ${units?.[point] ?? ""}`;
            list.append(element("dt", point), element("dd", shown));
        }
        return [element("h3", name), list];
    });
}

/** What will be written: what is new by its name, what changes with its value, and the lines of the file. */
function planned({ changes, diff }) {
    const list = document.createElement("ul");
    for (const { path, old, new: now, effect } of changes) {
        const isNew = (old === null || old === undefined) && typeof now === "object";
        const words = isNew ? path : `${path}: ${JSON.stringify(now)}`;
        const when = effect === "restart" ? ` – ${word("start_restart_key")}` : "";
        list.append(element("li", words + when));
    }
    const lines = element("pre", "", "text");
    lines.tabIndex = 0;
    lines.append(...diffLines(diff));
    return [element("h3", word("config_changes")), list, element("h3", word("config_lines")), lines];
}

/** What will be written. */
async function sum() {
    const place = form.querySelector("[data-result]");
    const own = all();
    if (!own.length) {
        place.replaceChildren(element("p", word("start_nothing"), "notice"));
        return;
    }
    const [apply, forget] = [form.querySelector("[data-apply]"), form.querySelector("[data-forget]")];
    forget.hidden = false;
    forget.onclick = async () => {
        if (!(await confirm(word("start_forget_ask")))) return;
        localStorage.removeItem(KEPT);
        location.assign("/start?step=name");
    };
    let base;
    const refuse = (answer) => {
        const lines = (answer.mistakes ?? []).map(({ text, message }) => element("p", text ?? message, "bad"));
        place.replaceChildren(element("p", answer.error ?? word("config_refused"), "bad"), ...lines);
    };
    try {
        const answer = await api("POST", "/api/v1/config/look", { edits: own });
        if (answer.outcome === "refused") {
            refuse(answer);
            return;
        }
        ({ base } = answer);
        place.replaceChildren(...planned(answer));
    } catch (error) {
        place.replaceChildren(element("p", error.message, "bad"));
        return;
    }
    const act = async (force) => {
        apply.disabled = true;
        place.replaceChildren(element("p", word("config_wait")));
        try {
            const change = { base, edits: own, note: word("start_note"), force };
            const answer = await api("POST", "/api/v1/config/apply", change);
            if (answer.outcome === "applied") {
                await applied(place, answer);
                return;
            }
            if (answer.outcome === "probe-failed") {
                const anyway = element("button", word("config_anyway"));
                anyway.type = "button";
                anyway.onclick = async () => {
                    if (await confirm(word("config_anyway_ask"))) act(true);
                };
                place.replaceChildren(element("p", word("config_refused"), "bad"), ...tried(answer.probe), anyway);
            } else {
                refuse(answer);
            }
        } catch (error) {
            place.replaceChildren(element("p", error.message, "bad"));
        }
        apply.disabled = false;
    };
    form.onsubmit = (event) => {
        event.preventDefault();
        act(false);
    };
    // Not before: whoever is quick would send the form as it is.
    apply.hidden = false;
}

/** The change counts: on to the first reading. */
async function applied(place, answer) {
    const { device: name } = draft;
    localStorage.removeItem(KEPT);
    for (const button of form.querySelectorAll("[data-apply], [data-forget]")) button.hidden = true;
    place.replaceChildren(element("p", word("config_applied", { version: answer.version ?? "–" }), "good sentence"));
    if (answer.next_start?.length) {
        place.append(element("p", word("config_next_start", { names: answer.next_start.join(", ") })));
        form.querySelector("[data-restart]").hidden = false;
        form.querySelector("[data-alone]")?.removeAttribute("hidden");
        return;
    }
    if (name) {
        place.append(element("p", word("start_first")));
        const until = Date.now() + FIRST_MAX_MS;
        const has = async () => {
            const told = await api("GET", `/api/v1/sensors/${encodeURIComponent(name)}`).catch(() => []);
            return told[0]?.points.some(({ value }) => value !== null);
        };
        while (Date.now() < until && !(await has())) await new Promise((resolve) => setTimeout(resolve, 500));
    }
    location.assign("/");
}

async function restart(button) {
    if (!(await confirm(word("start_restart_ask")))) return;
    button.disabled = true;
    try {
        await api("POST", "/api/v1/restart", { confirm: button.dataset.restartNow });
    } catch (error) {
        tell(form, { message: error.message });
        button.disabled = false;
        return;
    }
    const place = form.querySelector("[data-result]");
    place.append(element("p", word("start_restarting")));
    // It is away for a moment before it is back.
    const back = async () => {
        const response = await fetch("/readyz", { cache: "no-store" }).catch(() => null);
        if (response?.ok) location.assign("/");
        else setTimeout(back, 1000);
    };
    setTimeout(back, 3000);
}

function profileChosen() {
    const { name, baud, frame, address, tellsTime } = chosenProfile();
    field("baud").placeholder = name ? String(baud) : "9600";
    field("frame").placeholder = name ? frame : "8N1";
    field("device").placeholder = name;
    form.querySelector("[data-unit]").hidden = address !== "unit_id";
    form.querySelector("[data-gnss]").hidden = !tellsTime;
}

/** How far this browser's clock is from the gateway's. */
function compare(place) {
    const apart = Math.round((Date.now() - new Date(place.dataset.clock)) / 1000);
    const isNear = Math.abs(apart) < 60;
    place.textContent = isNear ? word("start_clock_near") : word("start_clock_apart", { seconds: Math.abs(apart) });
    place.className = isNear ? "good" : "bad";
}

if (form && !new URLSearchParams(location.search).has("step") && draft.at && draft.at !== step) {
    location.replace(`/start?step=${draft.at}`);
} else if (form) {
    draft.at = step;
    keep();
    for (const link of document.querySelectorAll("[data-step-link]")) {
        link.classList.toggle("is-chosen", Boolean(draft.edits[link.dataset.stepLink]?.length));
    }
    if (step === "summary") {
        sum();
        for (const button of form.querySelectorAll("[data-restart-now]")) button.onclick = () => restart(button);
    } else {
        fill();
        form.addEventListener("submit", (event) => {
            event.preventDefault();
            onward();
        });
        form.querySelector("[data-skip]").addEventListener("click", () => {
            delete draft.edits[step];
            delete draft.fields[step];
            if (step === "device") delete draft.device;
            keep();
        });
    }
    const clock = form.querySelector("[data-clock]");
    if (clock) compare(clock);
    if (step === "port") form.querySelector("[data-listen]").onclick = listen;
    if (step === "device") {
        field("profile").onchange = profileChosen;
        profileChosen();
        form.querySelector("[data-read]").onclick = ({ target }) => readNow(target);
    }
    if (step === "upstream") {
        form.querySelector("[data-test-new]").onclick = ({ target }) => testNew(target);
        field("tls").onchange = () => (field("port").placeholder = field("tls").checked ? "8883" : "1883");
    }
}
