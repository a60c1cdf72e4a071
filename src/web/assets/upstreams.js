// Tests of connections to upstreams, each step as it is taken: on the page of upstreams, and where one is set up.

import { steps, word } from "./app.js";

const STEPS = {
    name: () => word("step_name"),
    connected: () => word("step_connected"),
    proxy: () => word("step_proxy"),
    tls: () => word("step_tls"),
    websocket: () => word("step_websocket"),
    connack: () => word("step_connack"),
    round_trip: () => word("step_round_trip"),
};

function element(name, text, className = "") {
    const made = document.createElement(name);
    made.textContent = text;
    made.className = className;
    return made;
}

/** Tests an upstream, and tells in `place` how it goes on. Resolves to what came of it; of mistakes in the config nothing
 * is told there. */
export async function test(place, body) {
    const sentence = element("p", word("test_wait"), "sentence");
    const list = element("ol", "", "way");
    let address;
    place.replaceChildren(sentence, list);
    place.hidden = false;
    const took = ({ step, address: at, state, words, ms }) => {
        if (address && at !== address) list.append(element("li", at, "hint"));
        address = at;
        const item = element("li", "", state === "good" ? "done" : "failed");
        const mark = element("strong", STEPS[step]?.() ?? step, state === "good" ? "good" : "bad");
        item.append(mark, element("span", words), element("span", ms === undefined ? "" : `${ms} ms`, "number"));
        list.append(item);
    };
    try {
        const answer = await steps("/api/v1/upstreams/test", body, took);
        if (answer.outcome === "refused") {
            place.replaceChildren(element("p", answer.error, "bad"));
            return answer;
        }
        const { state, words } = answer;
        const said = { good: word("test_good"), doubtful: word("test_doubtful") }[state] ?? word("test_wrong");
        sentence.textContent = state === "good" ? said : `${said} ${words}`;
        sentence.className = `sentence ${state === "good" ? "good" : "bad"}`;
        return answer;
    } catch (error) {
        sentence.textContent = error.message;
        sentence.className = "sentence bad";
        throw error;
    }
}

for (const button of document.querySelectorAll("[data-test]")) {
    button.onclick = async () => {
        button.disabled = true;
        const place = button.closest("section").querySelector("[data-tested]");
        await test(place, { name: button.dataset.test }).catch(() => {});
        button.disabled = false;
    };
}
