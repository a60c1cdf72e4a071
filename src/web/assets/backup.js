// The whole config in one file: downloaded, and put back after a look at what that changes.

import { api, confirm, word } from "./app.js";
import { SAID, element, list, say, wouldDo } from "./config.js";

function tell(form, message) {
    const place = form.querySelector("[data-error]");
    place.textContent = message ?? "";
    place.hidden = !message;
    if (message) place.scrollIntoView({ block: "nearest" });
}

/** Does something with the buttons of a form locked; what is refused is told in it. */
async function locked(form, work) {
    const buttons = form.querySelectorAll("button");
    for (const button of buttons) button.disabled = true;
    tell(form);
    try {
        await work();
    } catch (error) {
        tell(form, error.message);
    } finally {
        for (const button of buttons) button.disabled = false;
    }
}

const make = document.querySelector("[data-backup]");
make.addEventListener("submit", (event) => {
    event.preventDefault();
    const result = make.querySelector("[data-result]");
    say(result, []);
    locked(make, async () => {
        const { passphrase } = make.elements;
        const answer = await api("POST", "/api/v1/config/backup", { passphrase: passphrase.value || undefined });
        if (answer.error) throw new Error(answer.error);
        const link = element("a");
        link.href = URL.createObjectURL(new Blob([answer.content], { type: "application/octet-stream" }));
        link.download = `fieldgate-${make.dataset.gateway}-${answer.time.slice(0, 10)}.backup`;
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
        passphrase.value = "";
        const parts = [element("p", answer.encrypted ? word("backup_sealed", { file: link.download }) : word("backup_open", { file: link.download }), "good")];
        if (answer.left_out.length) parts.push(...list(word("backup_left_out"), answer.left_out));
        say(result, parts);
    });
});

const restore = document.querySelector("[data-restore]");
const result = restore.querySelector("[data-result]");
const go = restore.querySelector("[data-do]");
/** What was looked at, so that nothing else is put back. */
let chosen;

function forget() {
    chosen = undefined;
    go.hidden = true;
    say(result, []);
}
restore.addEventListener("input", forget);

function refused(answer) {
    if (answer.outcome !== "refused") return;
    const mistakes = (answer.mistakes ?? []).map(({ text, message }) => text ?? message);
    throw new Error([answer.error, ...mistakes].join(" – "));
}

restore.addEventListener("submit", (event) => {
    event.preventDefault();
    forget();
    locked(restore, async () => {
        const { file, passphrase } = restore.elements;
        const [backup] = file.files;
        if (backup.size > Number(file.dataset.bytesMax)) throw new Error(word("backup_too_large"));
        const body = { backup: await backup.text(), passphrase: passphrase.value || undefined };
        const answer = await api("POST", "/api/v1/config/restore", body);
        refused(answer);
        chosen = body;
        const parts = [element("p", word("backup_is", { gateway: answer.gateway, time: answer.time }), "sentence")];
        const files = answer.restores.map(({ file: path, differs }) => `${path}: ${differs ? word("backup_differs") : word("backup_same")}`);
        parts.push(...wouldDo(answer));
        if (files.length) parts.push(...list(word("backup_files"), files));
        if (answer.not_restored.length) parts.push(...list(word("backup_not"), answer.not_restored));
        say(result, parts);
        go.hidden = false;
    });
});

go.addEventListener("click", async () => {
    if (!chosen || !(await confirm(word("backup_ask")))) return;
    locked(restore, async () => {
        const answer = await api("POST", "/api/v1/config/restore", { ...chosen, apply: true });
        refused(answer);
        sessionStorage.setItem(SAID, JSON.stringify(answer));
        location.assign("/config/history");
    });
});
