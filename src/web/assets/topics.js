// The tree of topics: built from what the stream tells, painted once a frame, and only where a branch is open; a message
// as text, JSON or bytes; publishing; deleting what is retained.

import { api, ago, confirm, toast, word } from "./app.js";

const tree = document.querySelector("[data-tree]");
const find = (name) => document.querySelector(`[data-${name}]`);
/** Rows of one branch; further ones are counted. */
const ROWS_MAX = 300;

const root = { children: new Map(), path: "", open: true, count: 0 };
let chosen;
let view = "text";
let isDirty = false;

function branch(topic) {
    let node = root;
    for (const level of topic.split("/")) {
        let child = node.children.get(level);
        if (!child) {
            child = { children: new Map(), level, path: node === root ? level : `${node.path}/${level}`, count: 0 };
            node.children.set(level, child);
            node.isGrown = true;
        }
        node = child;
    }
    return node;
}

function take(message) {
    const node = branch(message.topic);
    if (!node.message) {
        let up = root;
        for (const level of message.topic.split("/")) (up = up.children.get(level)).count++;
        root.count++;
    }
    message.at = message.ago_ms === null ? null : Date.now() - message.ago_ms;
    // What was retained stays, whatever is published without it later.
    if (message.retain) node.isRetained = message.bytes > 0;
    node.message = message;
    node.isNew = true;
    if (chosen === node) showMessage();
}

const short = (message) => {
    const text = message.text ?? message.hex.replace(/(..)/g, "$1 ");
    return text.length > 60 ? `${text.slice(0, 60)}…` : text;
};

function row(node) {
    const item = document.createElement("li");
    const value = document.createElement("button");
    value.type = "button";
    value.className = "leaf";
    value.onclick = () => choose(node);
    node.value = value;
    if (node.children.size > 0) {
        const details = document.createElement("details");
        const summary = document.createElement("summary");
        const list = document.createElement("ul");
        node.summary = summary;
        node.list = list;
        node.rows = 0;
        details.append(summary, list);
        details.open = Boolean(node.open);
        details.ontoggle = () => {
            node.open = details.open;
            paint();
        };
        item.append(details);
        value.hidden = !node.message;
        item.append(value);
    } else {
        item.append(value);
    }
    return item;
}

/** Paints what is open and has changed. */
function fill(node, list) {
    if (node.isGrown || node.rows === undefined) {
        node.isGrown = false;
        const all = [...node.children.values()].sort((a, b) => (a.level < b.level ? -1 : 1));
        const had = document.activeElement?.closest?.("[data-path]")?.dataset.path;
        const rows = all.slice(0, ROWS_MAX).map((child) => {
            // A leaf that has become a branch is made anew.
            if (!child.item || Boolean(child.list) !== child.children.size > 0) {
                child.item = row(child);
                child.item.dataset.path = child.path;
                child.isNew = true;
            }
            return child.item;
        });
        if (all.length > ROWS_MAX) {
            const more = document.createElement("li");
            more.textContent = word("topic_more", { count: all.length - ROWS_MAX });
            rows.push(more);
        }
        list.replaceChildren(...rows);
        node.rows = rows.length;
        if (had) list.querySelector(`[data-path="${CSS.escape(had)}"] button, [data-path="${CSS.escape(had)}"] summary`)?.focus();
    }
    for (const child of node.children.values()) {
        if (!child.item) continue;
        if (child.summary) {
            const text = `${child.level || "∅"} (${child.count})`;
            if (child.summary.textContent !== text) child.summary.textContent = text;
        }
        if (child.isNew && child.message) {
            child.isNew = false;
            child.value.hidden = false;
            const name = document.createElement("span");
            name.textContent = child.level || "∅";
            const code = document.createElement("code");
            code.textContent = short(child.message);
            child.value.replaceChildren(name, " ", code);
            child.value.setAttribute("aria-pressed", String(chosen === child));
        }
        if (child.list && child.open) fill(child, child.list);
    }
}

function paint() {
    if (isDirty) return;
    isDirty = true;
    requestAnimationFrame(() => {
        isDirty = false;
        fill(root, tree);
        find("empty").hidden = root.count > 0;
        find("known").textContent = word("topic_known", { count: root.count });
    });
}

function bytesOf(message) {
    if (message.hex !== undefined) return message.hex.match(/../g) ?? [];
    return [...new TextEncoder().encode(message.text)].map((byte) => byte.toString(16).padStart(2, "0"));
}

function payload(message) {
    if (view === "hex") {
        const bytes = bytesOf(message);
        const lines = [];
        for (let at = 0; at < bytes.length; at += 16) {
            lines.push(`${at.toString(16).padStart(4, "0")}  ${bytes.slice(at, at + 16).join(" ")}`);
        }
        return lines.join("\n");
    }
    if (message.text === undefined) return word("topic_no_text");
    if (view === "json") {
        try {
            return JSON.stringify(JSON.parse(message.text), null, 2);
        } catch {
            return message.cut ? word("topic_cut_json") : word("topic_no_json");
        }
    }
    return message.text;
}

function showMessage() {
    const { message, path } = chosen;
    find("choose").hidden = true;
    find("message").hidden = false;
    find("topic").textContent = path;
    const parts = [word("topic_bytes", { count: message.bytes }), `QoS ${message.qos}`];
    if (message.retain) parts.push(word("topic_retained"));
    parts.push(message.at === null ? word("topic_from_before") : ago(message.at));
    if (message.messages > 0) parts.push(word("topic_messages", { count: message.messages }));
    if (message.cut) parts.push(word("topic_cut"));
    find("how").textContent = parts.join(" · ");
    const text = payload(message);
    if (find("payload").textContent !== text) find("payload").textContent = text;
    find("whole").hidden = !message.cut;
    find("forget").hidden = !chosen.isRetained;
}

function choose(node) {
    const before = chosen;
    chosen = node;
    for (const one of [before, node]) one?.value?.setAttribute("aria-pressed", String(one === chosen));
    showMessage();
    if (matchMedia("(max-width: 48rem)").matches) document.getElementById("message").scrollIntoView();
}

for (const button of document.querySelectorAll("[data-view]")) {
    button.onclick = () => {
        view = button.dataset.view;
        for (const other of document.querySelectorAll("[data-view]")) other.setAttribute("aria-pressed", String(other === button));
        showMessage();
    };
}

find("whole").onclick = async () => {
    try {
        const whole = await api("GET", `/api/v1/topics/message?topic=${encodeURIComponent(chosen.path)}`);
        chosen.message = { ...chosen.message, hex: undefined, text: undefined, ...whole };
        showMessage();
    } catch (error) {
        toast(error.message);
    }
};

find("forget").onclick = async () => {
    const topic = chosen.path;
    if (!(await confirm(word("topic_forget_confirm", { topic })))) return;
    try {
        await api("POST", "/api/v1/topics/forget", { topic });
        toast(word("topic_forgotten", { topic }));
    } catch (error) {
        toast(error.message);
    }
};

find("again").onclick = () => {
    document.getElementById("publish-topic").value = chosen.path;
    document.getElementById("publish-text").value = chosen.message.text ?? "";
    document.getElementById("publish-text").focus();
};

find("publish").addEventListener("done", ({ detail }) => {
    toast(word("topic_published", { clients: detail.clients, upstreams: detail.upstreams.length }));
});

const prefix = new URLSearchParams(location.search).get("prefix") ?? "";
const source = new EventSource(`/api/v1/topics/live?prefix=${encodeURIComponent(prefix)}`);
tree.replaceChildren();
source.addEventListener("topics", (event) => {
    for (const message of JSON.parse(event.data).topics) take(message);
    paint();
});
setInterval(() => chosen && showMessage(), 1000);
